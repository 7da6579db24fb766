"""`evaluate RUN`: evaluate the weights of a recorded run, with its settings, on its own or other data."""

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
    """Find the run given by the word `id`; returns it, and the settings that evaluate its weights.

    The settings are the run's, overridden by those typed. The word `rule` selects the weights; the default is the run's
    setting `selection`. Raises `UserError` for a run without weights.
    """
    typed = typed_settings(settings, named_configs)
    name, rule = str(typed.pop("id")), typed.pop("rule", None)
    if "checkpoint" in typed:
        raise UserError(f"checkpoint={typed['checkpoint']} and the run {name}: give one of them")
    record, found = find_source("evaluate", name.split(","), typed)
    return record, found | {"checkpoint": str(weights_file(record, rule))}


def weights_file(record: Record, rule: str | None) -> Path:
    """Return the file with the weights that `rule` selected. Raises `UserError` if the run did not save it."""
    if not record.trained:
        raise UserError(f"the run {record.id} evaluated the weights of another run; give that one")
    folder = files_of(record)
    if record.status != "COMPLETED":
        raise UserError(
            f"the run {record.id} is {record.state}: only complete runs have weights to evaluate; to resume it,"
            f" {program_name()} resume {folder}"
        )
    selection = str(record.config.get("selection", "last"))
    kept = {"last": LAST, selection: SELECTED}
    if (rule or selection) not in kept:
        raise UserError(f"rule={rule}: the run {record.id} kept the weights selected by {one_of(kept)}")
    path = folder / kept[rule or selection]
    return path if path.exists() else _downloaded(record, path.name)


def _downloaded(record: Record, name: str) -> Path:
    """Download a file of a run that is only in MongoDB, to .../RUN/name; it is deleted when this process ends."""
    folder = TemporaryDirectory(prefix="debiaslab-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / record.id / name
    path.parent.mkdir()
    path.write_bytes(record.artifact(name))
    return path


def evaluation_data(setup: Setup, source: Record) -> BiasedDataset:
    """Load the data of `setup`, to evaluate the weights of `source`.

    A CSV other than the run's own needs no training images, and its labels are numbered as in the run. Raises
    `UserError` if the data cannot be loaded, have other classes, or are preprocessed in another way.
    """
    data = _data(setup, source)
    weights = Path(str(setup.run.checkpoint))
    if INPUT not in read_facts(weights):
        try:
            given = earlier_input(source)
        except UserError:  # arrays, which are not preprocessed
            return data
        require_same_input(weights, given, data)
    return data


def _data(setup: Setup, source: Record) -> BiasedDataset:
    recorded = source.config["data"]
    if not isinstance(setup.data, Custom) or all(
        getattr(setup.data, name) == recorded.get(name) for name in ("csv", "images", "features")
    ):
        return with_note(setup.with_data()[1], source)
    try:
        data = load_once(setup.data) if "split" not in setup.data.table().columns else None
    except UserError:
        data = None
    if data is not None and data.fingerprint == source.fingerprint:  # the run's CSV, in another place
        return setup.load_data()
    data = load_test_rows(setup.data, known_labels(source))
    return data if setup.run.evaluate_images is None else data.limit(setup.run.evaluate_images)


def known_labels(source: Record) -> KnownLabels:
    """Return the meaning of the labels in the run's data."""
    facts = source.info.get("data") or {}
    classes, biases = (None if (names := facts.get(kind)) is None else tuple(names) for kind in ("classes", "biases"))
    return KnownLabels(classes, biases, torch.tensor(source.history().aligned))


def with_note(data: BiasedDataset, source: Record) -> BiasedDataset:
    """Add a note to `data` if they are not those of the run."""
    if source.fingerprint in (None, data.fingerprint):
        return data
    return replace(data, notes=(*data.notes, f"these are not the data of the run {source.id}, by their fingerprints"))
