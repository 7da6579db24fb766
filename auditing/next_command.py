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

CSV_SETTINGS = ("csv", "images", "columns", "inferred_bias", "protocol", "seed")  # of custom, replaced by `INFERRED`


def next_command(folder: Path, findings: Findings, typed: Sequence[str] | None, data: Mapping[str, Any]) -> str:
    """The command that trains without the shortcut: on the inferred bias labels, if they were written into `folder`.

    typed: the words that selected the data set; None if they came from a run. data: its settings.
    """
    if has_inferred(findings):
        words = ["custom", f"data.csv={folder / INFERRED}", "data.inferred_bias=True", *_shared(findings, data)]
    elif typed is None:
        words = [f"data={data['name']}", *_changed(data["name"], data)]
    else:
        words = [word for word in typed if not word.startswith(("seed=", "device="))]
    method = "method=lff" if findings.verdict.found else "method=erm"
    return shlex.join([*program_name().split(), "with", *words, method])


def _shared(findings: Findings, data: Mapping[str, Any]) -> Iterator[str]:
    """The settings that the data set has in common with `custom`, and the image size."""
    settings = {**data, "image_size": findings.data.train.image_shape[-1]}
    names = [name for name in default_settings(DATASETS["custom"]) if name in settings and name not in CSV_SETTINGS]
    return _changed("custom", {name: settings[name] for name in names})


def _changed(name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """The `settings` that differ from the defaults of the data set `name`, as words."""
    for setting, default in default_settings(DATASETS[name]).items():
        if setting in settings and settings[setting] != default:
            yield f"data.{setting}={settings[setting]}"
