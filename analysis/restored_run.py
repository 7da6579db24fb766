"""Restore a recorded run: its method with the saved weights, with or without its data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from debiaslab.analysis.earlier_inputs import earlier_input
from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError
from debiaslab.core.settings import merge, nest
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.preprocessing import Preprocessing
from debiaslab.methods import Method
from debiaslab.settings.setup import Setup, check
from debiaslab.settings.weights import INPUT, load_weights
from debiaslab.training.checkpoint import LAST, SELECTED, read_facts


@dataclass(frozen=True)
class RestoredRun:
    """Method, in eval mode, and data of a run, on the same device; `facts` of the weights: rule, phase, epoch."""

    setup: Setup
    data: BiasedDataset
    method: Method
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class RestoredMethod:
    """The method of a run alone, in eval mode on the CPU, and the preprocessing of its inputs; needs no data."""

    method: Method
    facts: Mapping[str, Any]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing


def restore_run(record: Record, rule: str, changes: Mapping[str, Any]) -> RestoredRun:
    """Restore a run with the weights selected by `rule`: `last`, or the rule of its setting `selection`.

    `changes` are settings of this machine, dotted name -> value, such as data.root. The weights come from the record's
    files. Raises `UserError` for another rule, weights that are missing, or data that are not those of the run.
    """
    setup = check(merge(record.config, nest(changes)))
    with weights_by(rule, record, setup) as path:
        device, data = setup.device(), setup.load_data()
        fingerprint = record.info.get("data", {}).get("fingerprint")
        if fingerprint not in (None, data.fingerprint):
            raise UserError(f"the data are not those of the run {record.id}: {data.fingerprint}, there {fingerprint}")
        data = setup.place(data, device)
        method = setup.build_method(data, device, pretrained=False)
        facts = setup.load_weights(path, method, data)
    method.eval()
    return RestoredRun(setup, data, method, facts)


def restore_method(record: Record, rule: str | None) -> RestoredMethod:
    """Restore the method of a run from its record alone, with the weights selected by `rule` (None: `selection`).

    Raises `UserError` as `restore_run`, and for a run whose preprocessing is unknown.
    """
    method, facts, given = restore_networks(record, rule)
    if given["preprocessing"] is None:
        raise UserError(
            f"the run {record.id} is of clips, arrays or features, which no image file becomes; use one of images"
            + ("" if record.config["data"].get("features") is None else ", or predict features=FILE.npy")
        )
    try:
        preprocessing = Preprocessing.from_facts(given["preprocessing"])
    except (ValueError, KeyError, TypeError, UserError) as error:
        raise unknown_input(record, error) from None
    return RestoredMethod(method, facts, tuple(map(str, given["classes"])), preprocessing)


def restore_networks(record: Record, rule: str | None) -> tuple[Method, Mapping[str, Any], Mapping[str, Any]]:
    """Restore the method of a run as `restore_method`: (method, facts of the weights, facts of their input)."""
    setup = check(record.config)
    with weights_by(rule or setup.run.selection, record, setup) as path:
        given = read_facts(path).get(INPUT) or earlier_input(record)
        try:
            shape, classes = tuple(given["shape"]), tuple(map(str, given["classes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise unknown_input(record, error) from None
        method = setup.build_untrained(shape, len(classes))
        facts = load_weights(path, method)
    method.eval()
    return method, facts, given


def unknown_input(record: Record, error: Exception) -> UserError:
    return UserError(f"the weights of the run {record.id} do not say how images are made: {error}")


@contextmanager
def weights_by(rule: str, record: Record, setup: Setup) -> Iterator[Path]:
    """Yield a file with the weights selected by `rule`. Raises `UserError` if the record has none."""
    if record.status != "COMPLETED":
        raise UserError(f"the run {record.id} is {record.state}: only a complete one has left weights")
    kept = {"last": LAST, setup.run.selection: SELECTED}
    if rule not in kept:
        raise UserError(f"the run {record.id} has kept no weights by rule={rule}; use {' or '.join(kept)}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / kept[rule]
        path.write_bytes(record.artifact(kept[rule]))
        if read_facts(path).get("rule") != rule:
            raise UserError(f"{kept[rule]} of the run {record.id} was not chosen by {rule}")
        yield path
