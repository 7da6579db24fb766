"""The three Sacred ingredients `data`, `method` and `model`, and the run's own settings, built from the declarations.

A configuration has the settings of the chosen data set, method and model only. Nothing is read from disk.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sacred import Ingredient
from sacred.config import ConfigDict
from sacred.config.config_summary import ConfigSummary

from debiaslab.core.errors import require_known
from debiaslab.core.settings import declared, default_settings, settings
from debiaslab.datasets import DATASETS
from debiaslab.models import MODELS, default_model_hparams
from debiaslab.settings.recipes import default_selection, resolve
from debiaslab.settings.run import RunSettings

DEFAULT_DATA, DEFAULT_METHOD = "digits", "denetdm"

Config = Mapping[str, Any]
# values, and their descriptions in `print_config` by name ("hparams.q" for inner ones)
Described = tuple[dict[str, Any], dict[str, str]]


class Scope:
    """A config scope of Sacred: `make` computes the values from the user's and those of the other ingredients."""

    def __init__(self, make: Callable[[Config, Config], Described]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __call__(self, fixed: Any = None, preset: Any = None, fallback: Any = None) -> ConfigSummary:
        values, docs = self.make(fixed or {}, fallback or {})
        summary: ConfigSummary = ConfigDict(values)(fixed, preset, fallback)
        summary.docs.update(docs)
        summary.added.clear()  # `settings.setup.check` rejects unknown settings, with a suggestion
        return summary


def data_settings(own: Config, others: Config) -> Described:
    """The settings of the chosen data set."""
    name = own.get("name", DEFAULT_DATA)
    require_known("data set", name, DATASETS)
    values = {"name": name} | default_settings(DATASETS[name], own)
    return values, {"name": "data set"} | help_of(DATASETS[name])


def method_settings(own: Config, others: Config) -> Described:
    """The method's hyper-parameters according to its recipe for the data set."""
    name = own.get("name", DEFAULT_METHOD)
    recipe = resolve(name, others["data"], own.get("recipe"))
    values = {"name": name, "recipe": recipe.name, "hparams": recipe.hparams(own.get("hparams", {}))}
    docs = {"name": "method", "recipe": recipe.recipe.source, "hparams": "hyper-parameters of the method"}
    return values, docs | help_of(recipe.method.Config, "hparams.")


def model_settings(own: Config, others: Config) -> Described:
    """The architecture of the method's recipe, or the user's, and its hyper-parameters."""
    method = others["method"]
    recipe = resolve(method["name"], others["data"], method["recipe"])
    name = own.get("name", recipe.recipe.model)
    sizes = default_model_hparams(name) | recipe.model_hparams(name)
    docs = {
        "name": "architecture",
        "pretrained": "initial weights: none (random), imagenet, a file of weights, or a recorded run (id or folder)",
        "hparams": "hyper-parameters of the architecture",
    }
    values = {"name": name, "pretrained": recipe.pretrained(name), "hparams": sizes}
    return values, docs | help_of(MODELS[name], "hparams.")


def run_settings(own: Config, others: Config) -> Described:
    """The settings of the run itself."""
    if "seed" in own:  # Sacred seeds generators with it before the settings are checked
        settings(RunSettings, {"seed": own["seed"]}, "")
    return default_settings(RunSettings) | {"selection": default_selection(others["data"])}, help_of(RunSettings)


def help_of(cls: type, prefix: str = "") -> dict[str, str]:
    """The descriptions of a dataclass's settings, by name."""
    return {f"{prefix}{name}": known.help for name, known in declared(cls).items() if known.help}


def ingredient(path: str, values: Callable[[Config, Config], Described], *others: Ingredient) -> Ingredient:
    made = Ingredient(path, ingredients=others, _caller_globals=globals(), save_git_info=False)
    made.configurations.append(Scope(values))
    return made


data = ingredient("data", data_settings)
method = ingredient("method", method_settings, data)
model = ingredient("model", model_settings, data, method)
