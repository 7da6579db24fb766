"""Numbers that papers report, and what keeps recorded runs from being compared with them."""

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.records import Record
from core.errors import UserError
from methods.defaults import conflicting_percent, default_hparams

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
# the settings of the data behind all published numbers, beside those that name the variant
PUBLISHED_SETTINGS = {
    "severity": 4,
    "corruptions": "type0",
    "reverse": False,
    "n_confusing": 9,
    "target_attribute": "Blond_Hair",
    "bias_attribute": "Male",
}
# methods that papers report under other names
REPORTED_AS = {"vanilla_biased": "erm"}  # its prediction is that of the network f, "Vanilla" in ReBias's tables


@dataclass(frozen=True)
class Published:
    """A published accuracy in percent, with its source."""

    mean: float
    std: float | None
    source: str

    def text(self, separator: str = " +- ") -> str:
        return f"{self.mean:.2f}" + (f"{separator}{self.std:.2f}" if self.std is not None else "")


@cache
def published_results() -> dict[tuple[str, str, str, str], Published]:
    """(data set, variant, metric, method) -> the published number, as in published.csv."""
    with PUBLISHED_FILE.open(newline="") as file:
        return {
            (row["dataset"], row["variant"], row["metric"], row["method"]): Published(
                float(row["mean"]), float(row["std"]) if row["std"] else None, row["source"]
            )
            for row in csv.DictReader(file)
        }


def published_result(config: Mapping[str, Any], metric: str) -> Published | None:
    """What a paper reports for this method on this data, if one does."""
    data, method = config["data"], config["method"]
    if any(data.get(name) not in (None, value) for name, value in PUBLISHED_SETTINGS.items()):  # None: not its setting
        return None
    name, hparams = REPORTED_AS.get(method["name"], method["name"]), method["hparams"]
    names = [name]
    if {"alpha", "beta"} <= set(hparams):  # EnD: a number for one setting, others for the best of a search
        names.insert(0, f"{name}_{hparams['alpha']:g}_{hparams['beta']:g}")
    keys = [(data["name"], published_variant(data), metric, name) for name in names]
    return next((published_results()[key] for key in keys if key in published_results()), None)


def published_metrics(dataset: str) -> list[str]:
    """The metrics that papers report for this data set."""
    return list(dict.fromkeys(metric for name, _, metric, _ in published_results() if name == dataset))


def published_variant(data: Mapping[str, Any]) -> str:
    """The variant in the terms of the papers: "0.5pct" (of conflicting images), "rho0.997", "-"."""
    if data.get("rho") is not None:
        return f"rho{data['rho']:.3f}"
    percent = data.get("percent") if data.get("percent") is not None else 100 * (data.get("skew") or 0)
    return f"{percent:g}pct" if percent else "-"


# ---- what keeps runs from being compared with them


def notes_on_comparison(
    records: Sequence[Record],
    rows: Mapping[str, str],
    columns: Mapping[str, str],
    compared: Collection[tuple[str, str]],
) -> list[str]:
    """What keeps the numbers from being those that papers report: images left out, another protocol or length.

    `compared` are the places of the table with a published number; `rows` and `columns` are the runs', by their ids.
    """
    found: dict[tuple[str, str], dict[str, None]] = {}  # (column, what) -> the rows that it is true of
    for record in records:
        row, column, data = rows[record.id], columns[record.id], record.config["data"]
        limit, protocol = record.config.get("evaluate_images"), data.get("protocol")
        facts = []
        if limit and "evaluate_images" not in column:
            facts.append(f"judged on {limit} images of each split")
        if (row, column) in compared:
            if protocol != "published" and "protocol" not in column:
                facts.append(f"protocol {protocol}, the papers' numbers are of published")
            facts += _other_length(record.config)
        for fact in facts:
            found.setdefault((column, fact), {})[row] = None
    return [f"{', '.join(of_rows)} on {column}: {fact}" for (column, fact), of_rows in found.items()]


def _other_length(config: Mapping[str, Any]) -> list[str]:
    """That the training is not as long as the run's recipe says, if so."""
    data, method = config["data"], config["method"]
    try:
        recipe = default_hparams(
            method["name"], data["name"], method["recipe"], data["protocol"], conflicting_percent(data)
        )
    except (KeyError, UserError):  # of another version, which knew other recipes
        return []
    lengths = [
        " ".join(f"{name} {hparams[name]}" for name in ("epochs", "num_steps") if hparams.get(name) is not None)
        for hparams in (method["hparams"], recipe)
    ]
    own, of_recipe = lengths
    return [] if own in ("", of_recipe) else [f"{own}, where the recipe has {of_recipe}"]
