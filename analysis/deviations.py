"""The settings in which a run deviates from its recipe."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from debiaslab.core.errors import UserError
from debiaslab.evaluation.selection import RULES
from debiaslab.models import default_model_hparams
from debiaslab.settings.recipes import LENGTHS, resolve

SEARCHED = ("alpha", "beta")  # EnD's settings, which its authors tuned


class Deviation(NamedTuple):
    """A setting of a run with its value, such as "epochs 2", and the `recipe`'s value."""

    text: str
    recipe: str

    @property
    def note(self) -> str:
        return f"{self.text}, where the recipe has {self.recipe}"


def deviations(config: Mapping[str, Any], ignored: Collection[str] = SEARCHED) -> tuple[Deviation, ...]:
    """Return the settings of training, method and model in which a run deviates from its recipe.

    A different length of training is one deviation; parts that are scaled with it do not count. Selection rules and the
    hyper-parameters `ignored` do not count either.
    """
    data, method, model = config["data"], config["method"], config["model"]
    try:
        recipe = resolve(method["name"], data, method["recipe"])
        of_recipe = recipe.defaults
        own = {name: value for name, value in method["hparams"].items() if name in of_recipe}
        fitted = recipe.of_length(own)
        lengths = [
            " ".join(f"{name} {hparams[name]}" for name in LENGTHS if hparams.get(name) is not None)
            for hparams in (own, of_recipe)
        ]
        architecture, pretrained = recipe.recipe.model, recipe.recipe.pretrained
        sizes = default_model_hparams(architecture) | recipe.model_hparams(architecture)
    except (KeyError, UserError):  # recorded by a version with other recipes
        return ()
    found = [] if lengths[0] in ("", lengths[1]) else [Deviation(lengths[0], lengths[1])]
    pairs = {
        name: (value, of_recipe[name])
        for name, value in own.items()
        if name not in (*LENGTHS, *ignored) and value != fitted[name] and value not in RULES
    }
    pairs["model"] = (model["name"], architecture)
    if model["name"] == architecture:
        pairs["pretrained"] = (model.get("pretrained", pretrained), pretrained)
        pairs |= {name: (model["hparams"].get(name, value), value) for name, value in sizes.items()}
    pairs["start_from"] = (config.get("start_from"), None)
    different = {name: pair for name, pair in pairs.items() if _as_recorded(pair[0]) != _as_recorded(pair[1])}
    return (
        *found,
        *(Deviation(f"{name} {_short(own)}", _short(expected)) for name, (own, expected) in different.items()),
    )


def _as_recorded(value: Any) -> Any:
    """`value` as a record has it: lists for tuples."""
    return list(value) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    """Format a value with up to six digits: those of a search have more."""
    return f"{value:g}" if isinstance(value, float) and value != round(value) else str(value)
