"""The command to type after an audit."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from debiaslab.auditing.findings import Findings
from debiaslab.auditing.table import INFERRED, has_inferred
from debiaslab.core.program import program_name
from debiaslab.core.settings import default_settings
from debiaslab.datasets import DATASETS

OF_THE_CSV = ("csv", "images", "columns", "inferred_bias", "protocol", "seed")  # custom: what its table has


def next_command(folder: Path, found: Findings, typed: Sequence[str] | None, data: Mapping[str, Any]) -> str:
    """Train without the shortcut: on the inferred bias labels, where they were written into `folder`.

    `typed` are the words that name the data set, None if a run did; `data` its settings.
    """
    if has_inferred(found):
        words = ["custom", f"data.csv={folder / INFERRED}", "data.inferred_bias=True", *_kept(found, data)]
    elif typed is None:
        words = [f"data={data['name']}", *_changed(data["name"], data)]
    else:
        words = [word for word in typed if not word.startswith(("seed=", "device="))]
    method = "method=lff" if found.verdict.found else "method=erm"
    return shlex.join([*program_name().split(), "with", *words, method])


def _kept(found: Findings, data: Mapping[str, Any]) -> Iterator[str]:
    """The settings of the data set that `custom` has, too, and the size of its images."""
    settings = {**data, "image_size": found.data.train.image_shape[-1]}
    custom = default_settings(DATASETS["custom"])
    return _changed("custom", {name: settings[name] for name in custom if name in settings and name not in OF_THE_CSV})


def _changed(name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """`settings` of the data set `name` that differ from its defaults, as they are typed."""
    for setting, default in default_settings(DATASETS[name]).items():
        if setting in settings and settings[setting] != default:
            yield f"data.{setting}={settings[setting]}"
