"""The tables of docs/settings.md, from the declarations: `python -m debiaslab.settings.docs > docs/settings.md`."""

from collections.abc import Iterator, Mapping
from typing import Any

from debiaslab.core.settings import declared, default_settings
from debiaslab.datasets import DATASETS
from debiaslab.datasets.base import KINDS, DatasetConfig
from debiaslab.methods import METHODS, MethodConfig
from debiaslab.models import MODELS
from debiaslab.settings.run import RunSettings

INTRODUCTION = """# Settings

Made from the declarations in the code by `python -m debiaslab.settings.docs`; `print_config with ...` shows those of a
run. *: the result does not depend on it."""


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_run(), *_data(), *_methods(), *_models(), *_unpublished()]) + "\n"


def _run() -> Iterator[str]:
    yield from ("", "## Of a run", "", "| setting | default | |", "|---|---|---|")
    for name, default in default_settings(RunSettings).items():
        yield f"| {_named(RunSettings, name)} | {_value(default)} | {_help(RunSettings, name)} |"


def _data() -> Iterator[str]:
    yield from ("", "## Of the data", "", "Written `data.NAME=VALUE`. Every data set has those of the first table.")
    yield from ("", "| setting | default | |", "|---|---|---|")
    common = default_settings(DatasetConfig)
    for name, default in common.items():
        yield f"| {_named(DatasetConfig, name)} | {_value(default)} | {_help(DatasetConfig, name)} |"
    yield from _of_several(DATASETS, common, "data set")


def _methods() -> Iterator[str]:
    yield from ("", "## Of the methods", "", "Written `method.hparams.NAME=VALUE`; recipes change the defaults.")
    yield from ("", "| setting | default | |", "|---|---|---|")
    common = default_settings(MethodConfig)
    for name, default in common.items():
        yield f"| `{name}` | {_value(default)} | {_help(MethodConfig, name)} |"
    yield from _of_several({name: method.Config for name, method in METHODS.items()}, common, "method")


def _models() -> Iterator[str]:
    yield from ("", "## Of the networks", "", "Written `model.hparams.NAME=VALUE`; recipes change the defaults.")
    yield from _of_several(MODELS, {}, "network")


def _of_several(classes: Mapping[str, type], common: Mapping[str, Any], kind: str) -> Iterator[str]:
    """A row for each setting that several classes declare alike, with their names, but for the `common` ones."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for owner, cls in classes.items():
        for name, default in default_settings(cls).items():
            if name not in common:
                rows.setdefault((_named(cls, name), _value(default), _help(cls, name)), []).append(f"`{owner}`")
    yield from ("", f"| setting | default | | {kind} |", "|---|---|---|---|")
    for (name, default_text, help), owners in rows.items():
        yield f"| {name} | {default_text} | {help} | {', '.join(owners)} |"


def _unpublished() -> Iterator[str]:
    yield from ("", "## Recipes for data that a method was not published on", "")
    yield "By the kind of the images. Where a data set has a recipe of its own ([recipes](methods/recipes.md)), these"
    yield "are not offered. `study` without `methods=` trains the methods with a recipe of their own for the data set."
    yield from ("", f"| method | {' | '.join(KINDS)} |", f"|---|{'---|' * len(KINDS)}")
    for name, method in METHODS.items():
        sources = (method.UNPUBLISHED.get(kind) for kind in KINDS)
        cells = ("cannot be trained" if source is None else f"`{source.model}`, {source.source}" for source in sources)
        yield f"| `{name}` | {' | '.join(cells)} |"


def _named(cls: type, name: str) -> str:
    return f"`{name}`{'' if declared(cls)[name].changes_result else ' *'}"


def _value(value: Any) -> str:
    return "" if value is None else f"`{value}`"


def _help(cls: type, name: str) -> str:
    return declared(cls)[name].help


if __name__ == "__main__":
    print(page(), end="")
