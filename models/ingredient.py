"""Sacred ingredient `model`: which architecture, of which size."""

from sacred import Ingredient

from debiaslab.datasets.ingredient import data as data_ingredient
from debiaslab.methods.defaults import default_model, default_pretrained, recipe_model_hparams
from debiaslab.methods.ingredient import method as method_ingredient
from debiaslab.models import default_model_hparams

model = Ingredient(
    "model", ingredients=[data_ingredient, method_ingredient], _caller_globals=globals(), save_git_info=False
)


@model.config
def choice(data, method):
    name = default_model(method["name"], data["name"], method["recipe"])  # architecture


@model.config
def values(name, data, method):
    # initial weights of the ResNet-18s: none (random), imagenet (torchvision's), or a file with torchvision's names
    pretrained = default_pretrained(method["name"], data["name"], method["recipe"], name)
    # sizes of the architecture
    hparams = default_model_hparams(name) | recipe_model_hparams(method["name"], data["name"], method["recipe"], name)
