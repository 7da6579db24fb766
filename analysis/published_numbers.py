"""Published numbers, and notes for comparing recorded runs with them."""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from debiaslab.analysis.deviations import SEARCHED, deviations
from debiaslab.analysis.result import chosen_on_test, limited_evaluation
from debiaslab.core.console import plural
from debiaslab.settings.declared import conflicting_percent, differs_from_published

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
# methods with other names in papers
REPORTED_AS = {"vanilla_biased": "erm"}  # its prediction is that of the network f, "Vanilla" in ReBias's tables

# how the numbers of each paper are defined
HOW_CHOSEN = {
    "Sreelatha et al. 2024": "means of 5 seeds; DeNetDM's weights were chosen on the test images (first phase:"
    " conflicting, second: unbiased accuracy; BFFHQ: conflicting); the baselines on Corrupted CIFAR-10 are those of an"
    " earlier paper",
    "Bahng et al. 2020": "in effect the last epoch",
    "Liu et al. 2021": "weights chosen by the worst group of the validation images",
    "Kirichenko et al. 2023": "5 networks; the last layer is fitted to validation images with bias labels",
    "Qiu et al. 2023": "weights chosen by the worst group of the validation images",
    "Tartaglione et al. 2021": "the 3 best settings of a search at one seed, with their spread; weights were chosen by"
    " accuracy on validation images that are recoloured training images",
}


@dataclass(frozen=True)
class PublishedNumber:
    """A published accuracy in percent, with its source."""

    mean: float
    std: float | None
    source: str

    def text(self, separator: str = " +- ") -> str:
        return f"{self.mean:.2f}" + (f"{separator}{self.std:.2f}" if self.std is not None else "")


@cache
def published_results() -> dict[tuple[str, str, str, str], PublishedNumber]:
    """(data set, variant, metric, method) -> the published number, as in published.csv."""
    with PUBLISHED_FILE.open(newline="") as file:
        return {
            (row["dataset"], row["variant"], row["metric"], row["method"]): PublishedNumber(
                float(row["mean"]), float(row["std"]) if row["std"] else None, row["source"]
            )
            for row in csv.DictReader(file)
        }


def published_result(config: Mapping[str, Any], metric: str) -> PublishedNumber | None:
    """The published number for this method on this data, if there is one."""
    data, method = config["data"], config["method"]
    name, hparams = REPORTED_AS.get(method["name"], method["name"]), method["hparams"]
    names = [name]
    if {"alpha", "beta"} <= set(hparams):  # EnD: a number for one setting, the others for the best of a search
        names.insert(0, f"{name}_{hparams['alpha']:g}_{hparams['beta']:g}")
    keys = [(data["name"], published_variant(data), metric, name) for name in names]
    found = next((published_results()[key] for key in keys if key in published_results()), None)
    if found is None:
        return None
    return None if differs_from_published(data) else found


def published_metrics(dataset: str) -> list[str]:
    """The metrics that papers report for this data set."""
    return list(dict.fromkeys(metric for name, _, metric, _ in published_results() if name == dataset))


def published_variant(data: Mapping[str, Any]) -> str:
    """The variant as published.csv names it: "0.5pct" (of the training images conflict with the bias), "-"."""
    percent = conflicting_percent(data)
    return f"{percent:g}pct" if percent else "-"


# ---- notes for the comparison with runs


def notes_on_papers(sources: Collection[str]) -> list[str]:
    """How the published numbers of `sources` are defined, one line per paper."""
    found = {paper: how for paper, how in HOW_CHOSEN.items() if any(source.startswith(paper) for source in sources)}
    return [f"{paper} report {how}" for paper, how in found.items()]


def notes_on_run(config: Mapping[str, Any], compared: bool, column: str) -> list[str]:
    """Notes on the numbers of a run in a table's `column`, if they are not what a reader expects.

    Images that were left out, weights chosen on test images between the phases, the search of the settings, deviations
    from the recipe; and another protocol than the paper's if the run is `compared` with a published number.
    """
    protocol = config["data"].get("protocol")
    notes = [*limited_evaluation(config, column), *chosen_on_test(config)]
    if config.get("tuned") is not None:
        trials = plural(config["tuned"], "trial")
        notes.append(f"the best of {trials} of {config['search']} by {config['objective']}")
    if compared and protocol != "published" and "protocol" not in column:
        notes.append(f"protocol {protocol}; the papers use published")
    return notes + [deviation.note for deviation in deviations(config, SEARCHED if config.get("tuned") is None else ())]
