"""A recorded run brought back to life: its data, and its method with the weights that it left."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import Method
from debiaslab.settings.setup import Setup, check
from debiaslab.training.checkpoint import LAST, SELECTED, read_facts


@dataclass(frozen=True)
class RestoredRun:
    """Method, in eval mode, and data of a run, on the same device; `facts` of the weights: rule, phase, epoch."""

    setup: Setup
    data: BiasedDataset
    method: Method
    facts: Mapping[str, Any]


def restore_run(record: Record, rule: str, changes: Mapping[str, Any]) -> RestoredRun:
    """The run as it was when `rule` chose its weights: `last`, or the rule of its setting `selection`.

    `changes` are settings of this machine, dotted name -> value, such as data.root. The weights come from the record's
    files. Raises `UserError` for another rule, weights that are missing, or data that are not those of the run.
    """
    setup = check(_with_changes(record.config, changes))
    kept = {"last": LAST, setup.run.selection: SELECTED}
    if rule not in kept:
        raise UserError(f"the run {record.id} has kept no weights by rule={rule}; use {' or '.join(kept)}")
    device, data = setup.device(), setup.load_data()
    fingerprint = record.info.get("data", {}).get("fingerprint")
    if fingerprint not in (None, data.fingerprint):
        raise UserError(f"the data are not those of the run {record.id}: {data.fingerprint}, there {fingerprint}")
    data = setup.placed(data, device)
    method = setup.build_method(data, device, pretrained=False)
    with TemporaryDirectory() as folder:
        path = Path(folder) / kept[rule]
        path.write_bytes(record.artifact(kept[rule]))
        if read_facts(path).get("rule") != rule:
            raise UserError(f"{kept[rule]} of the run {record.id} was not chosen by {rule}")
        facts = setup.load_weights(path, method, data)
    method.eval()
    return RestoredRun(setup, data, method, facts)


def _with_changes(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the nested `config` with `changes`."""
    changed = {name: dict(value) if isinstance(value, Mapping) else value for name, value in config.items()}
    for name, value in changes.items():
        ingredient, separator, setting = name.rpartition(".")
        (changed[ingredient] if separator else changed)[setting] = value
    return changed
