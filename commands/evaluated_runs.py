"""`evaluate RUN`: the weights of a recorded run, by its settings, on its data or on others."""

import atexit
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from debiaslab.analysis.earlier_inputs import earlier_input
from debiaslab.analysis.records import Record
from debiaslab.commands.from_run import files_of, find_source, typed_settings
from debiaslab.core.errors import UserError, one_of
from debiaslab.core.program import program_name
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.custom import Custom
from debiaslab.datasets.test_rows import KnownLabels, load_test_rows
from debiaslab.settings.setup import Setup, load_once
from debiaslab.settings.weights import INPUT, require_same_input
from debiaslab.training.checkpoint import LAST, SELECTED, read_facts


def evaluation_of_run(settings: Mapping[str, Any], named_configs: Sequence[str]) -> tuple[Record, dict[str, Any]]:
    """The run that the word `id` names, and the settings that evaluate its weights: its own, but for those typed.

    The weights are those that `rule` chose, a word, too; they were chosen by the run's setting `selection` unless said.
    Raises `UserError` for a run that has left none.
    """
    typed = typed_settings(settings, named_configs)
    name, rule = str(typed.pop("id")), typed.pop("rule", None)
    if "checkpoint" in typed:
        raise UserError(f"checkpoint={typed['checkpoint']} and the run {name}: name one of them")
    record, found = find_source("evaluate", name.split(","), typed)
    return record, found | {"checkpoint": str(weights_file(record, rule))}


def weights_file(record: Record, rule: str | None) -> Path:
    """The file of the weights that `rule` chose. Raises `UserError` if the run has not left it."""
    if not record.trained:
        raise UserError(f"the run {record.id} has evaluated the weights of another: name that one")
    folder = files_of(record)
    if record.status != "COMPLETED":
        raise UserError(
            f"the run {record.id} is {record.state}: only a complete one has left weights; to resume it,"
            f" {program_name()} resume {folder}"
        )
    selection = str(record.config.get("selection", "last"))
    kept = {"last": LAST, selection: SELECTED}
    if (rule or selection) not in kept:
        raise UserError(f"rule={rule}: the run {record.id} has kept the weights by {one_of(kept)}")
    path = folder / kept[rule or selection]
    return path if path.exists() else _downloaded(record, path.name)


def _downloaded(record: Record, name: str) -> Path:
    """A file of a run that is in MongoDB alone; it is there as long as this process."""
    folder = TemporaryDirectory(prefix="debiaslab-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / name
    path.write_bytes(record.artifact(name))
    return path


def evaluation_data(setup: Setup, source: Record) -> BiasedDataset:
    """The data that `setup` names, for the weights of `source`.

    A CSV other than that of the run needs no training images, and its labels are numbered as the run's. Raises
    `UserError` if the data cannot be had, have other classes, or are images that are made in another way.
    """
    data = _data(setup, source)
    weights = Path(str(setup.run.checkpoint))
    if INPUT not in read_facts(weights):
        try:
            given = earlier_input(source)
        except UserError:  # arrays, which are taken as they are
            return data
        require_same_input(weights, given, data)
    return data


def _data(setup: Setup, source: Record) -> BiasedDataset:
    recorded = source.config["data"]
    if not isinstance(setup.data, Custom) or all(
        getattr(setup.data, name) == recorded.get(name) for name in ("csv", "images")
    ):
        return noted(setup.with_data()[1], source)
    try:
        data = load_once(setup.data) if "split" not in setup.data.table().columns else None
    except UserError:
        data = None
    if data is not None and data.fingerprint == source.fingerprint:  # the run's CSV, in another place
        return setup.load_data()
    data = load_test_rows(setup.data, known_labels(source))
    return data if setup.run.evaluate_images is None else data.limit(setup.run.evaluate_images)


def known_labels(source: Record) -> KnownLabels:
    """What the labels of the run's data mean."""
    facts = source.info.get("data") or {}
    classes, biases = (None if (names := facts.get(kind)) is None else tuple(names) for kind in ("classes", "biases"))
    return KnownLabels(classes, biases, torch.tensor(source.history().aligned))


def noted(data: BiasedDataset, source: Record) -> BiasedDataset:
    """`data`, with a note if they are not those of the run."""
    if source.fingerprint in (None, data.fingerprint):
        return data
    return replace(data, notes=(*data.notes, f"these are not the data of the run {source.id}, by their fingerprints"))
