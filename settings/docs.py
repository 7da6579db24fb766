"""Generate docs/settings.md from the declarations: `python -m debiaslab.settings.docs > docs/settings.md`."""

from collections.abc import Iterator, Mapping
from typing import Any

from debiaslab.core.settings import declared, default_settings
from debiaslab.datasets import DATASETS
from debiaslab.datasets.base import KINDS, DatasetConfig
from debiaslab.methods import METHODS, MethodConfig
from debiaslab.methods.end import STRONG, WEAK
from debiaslab.models import MODELS
from debiaslab.settings.run import RunSettings

INTRODUCTION = """# Settings

Generated from the declarations in the code by `python -m debiaslab.settings.docs`; `print_config with ...` shows the
settings of one run. *: results do not depend on it."""


def page() -> str:
    """The whole page."""
    parts = (*_run(), *_data(), *_methods(), *_search_ranges(), *_models(), *_unpublished())
    return "\n".join([INTRODUCTION, *parts]) + "\n"


def _run() -> Iterator[str]:
    yield from ("", "## Run", "", "| setting | default | |", "|---|---|---|")
    for name, default in default_settings(RunSettings).items():
        yield f"| {_named(RunSettings, name)} | {_value(default)} | {_help(RunSettings, name)} |"


def _data() -> Iterator[str]:
    yield from ("", "## Data", "", "Set with `data.NAME=VALUE`. All data sets have the settings of the first table.")
    yield from ("", "| setting | default | |", "|---|---|---|")
    common = default_settings(DatasetConfig)
    for name, default in common.items():
        yield f"| {_named(DatasetConfig, name)} | {_value(default)} | {_help(DatasetConfig, name)} |"
    yield from _of_several(DATASETS, common, "data set")


def _methods() -> Iterator[str]:
    yield from ("", "## Methods", "", "Set with `method.hparams.NAME=VALUE`; recipes change the defaults.")
    yield from ("", "All methods have the settings of the first table.")
    yield from ("", "| setting | default | |", "|---|---|---|")
    common = default_settings(MethodConfig)
    for name, default in common.items():
        yield f"| `{name}` | {_value(default)} | {_help(MethodConfig, name)} |"
    yield from _of_several({name: method.Config for name, method in METHODS.items()}, common, "method")


def _search_ranges() -> Iterator[str]:
    yield from ("", "## Search ranges", "")
    yield "What `search`, and `study` with `search=N`, vary by default ([search](search.md)); `recipe` is the recipe's"
    yield "value, and a setting that is 0 there has no such range. On Biased MNIST, EnD's space is that of its paper:"
    yield f"alpha and beta in {WEAK}, with rho 0.999 in {STRONG}."
    yield from ("", "| setting | range | method | source |", "|---|---|---|---|")
    for (setting, text, source), owners in search_ranges().items():
        yield f"| `{setting}` | `{text}` | {', '.join(f'`{name}`' for name in owners)} | {source} |"


def search_ranges() -> dict[tuple[str, str, str], list[str]]:
    """(hyper-parameter, default range, its source) -> the methods that declare it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, method in METHODS.items():
        for setting, range_ in method.SEARCH.items():
            found.setdefault((setting, str(range_), range_.source), []).append(name)
    return found


def _models() -> Iterator[str]:
    yield from ("", "## Networks", "", "Set with `model.hparams.NAME=VALUE`; recipes change the defaults.")
    yield from _of_several(MODELS, {}, "network")


def _of_several(classes: Mapping[str, type], common: Mapping[str, Any], kind: str) -> Iterator[str]:
    """A table with one row per setting and the classes that declare it identically; without the `common` settings."""
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
    yield "By kind of image; used for data sets that the method has no recipe for ([recipes](methods/recipes.md))."
    yield "`study` without `methods=` trains only the methods that have a recipe for the data set."
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
