"""Sacred ingredient `method`: which method, with which hyper-parameters."""

from sacred import Ingredient

from debiaslab.datasets import has_valid, knows_bias
from debiaslab.datasets.ingredient import data as data_ingredient
from debiaslab.methods.defaults import conflicting_percent, default_hparams, default_recipe, fitted_hparams

method = Ingredient("method", ingredients=[data_ingredient], _caller_globals=globals(), save_git_info=False)


@method.config
def choice(data):
    name = "denetdm"  # method


@method.config
def settings(name, data):
    recipe = default_recipe(name, data["name"])  # whose published settings to start from


@method.config
def values(name, recipe, data):
    # hyper-parameters of the method
    hparams = default_hparams(
        name, data["name"], recipe, data["protocol"], conflicting_percent(data), knows_bias(data), has_valid(data)
    )
    hparams = fitted_hparams(name, data["name"], recipe, data["protocol"], hparams, conflicting_percent(data))
