"""What a run records and prints about its data, code and results."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from debiaslab.commands.runs import record_folder
from debiaslab.config import Run
from debiaslab.core.console import printable
from debiaslab.core.program import program_name
from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.bias_labels import BiasLabels, LabelFacts, count_bias_labels, label_facts
from debiaslab.models.pretrained import named_run, names_run
from debiaslab.recording.observers import FileRecord
from debiaslab.recording.version import code_version
from debiaslab.settings.recipes import UNPUBLISHED
from debiaslab.settings.setup import Setup


def facts_of(setup: Setup, data: BiasedDataset, device: torch.device) -> dict[str, Any]:
    """Facts to record with the configuration: data, machine, code, bias labels, the run that weights are from."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    facts: dict[str, Any] = {"fingerprint": data.fingerprint, "notes": list(data.notes)}
    facts["sizes"] = {name: len(split) for name, split in data.splits().items()}
    labels = label_facts(data)
    facts |= asdict(labels)
    names = {"classes": data.class_names, "biases": data.bias_names}
    facts |= {kind: None if found is None else list(found) for kind, found in names.items()}
    source = {"pretrained_run": named_run(setup.pretrained)} if names_run(setup.pretrained) else {}
    return {
        "data": facts,
        "bias_labels": asdict(bias_labels(setup, labels, setup.run.selection)),
        "machine": {"device": name, "torch": str(torch.__version__), "ranks": setup.run.ranks},
        "code": code_version(),
        **source,
    }


def bias_labels(setup: Setup, labels: LabelFacts, rule: str) -> BiasLabels:
    """The bias labels that a run of `setup` uses, of those of its data, with the weights selected by `rule`."""
    rules = [*setup.method_config.rules().values(), rule]
    return count_bias_labels(labels, setup.method.labelled_splits(), rules)


def labels_of_setup(setup: Setup, data: BiasedDataset, rule: str | None = None) -> str:
    """`bias_labels` as text; `rule` None: that of the run, which is named."""
    shown = f"with {setup.run.selection}, " if rule is None and setup.run.selection != "last" else ""
    return shown + bias_labels(setup, label_facts(data), rule or setup.run.selection).text()


def say_notes(setup: Setup, data: BiasedDataset) -> None:
    """Print notes on the recipe and the data."""
    if setup.recipe.source.startswith(UNPUBLISHED):
        print(f"recipe: {setup.recipe.source}")
    for note in data.notes:
        print(printable(note))
    if len(data.train) and data.tells_conflicting() and data.aligned_samples(data.train).all():
        print(f"none of the {len(data.train):,} training images conflicts with the bias")


def say_start(setup: Setup, run: Run) -> None:
    """Where the record will be, at once: a log shows it while the run goes on."""
    if record_folder(run) is not None:
        print(f"recording in {Path(setup.run.log_dir) / str(run._id)}", flush=True)


def say_where(setup: Setup, run: Run) -> None:
    """Print where the record is, and the next command."""
    folder = record_folder(run)
    if folder is None:
        print("not recorded (-u)")
        return
    shown = Path(setup.run.log_dir) / str(run._id)
    mongo: list[Any] = [observer for observer in run.observers if not isinstance(observer, FileRecord)]
    quoted = shlex.quote(str(shown))
    print(f"recorded in {shown}")
    for record in mongo:
        if record.failed:
            print(f"not complete in MongoDB {record.address}, which failed during the run")
        else:
            print(f"recorded in MongoDB {record.address} as run {run._id}")
    if setup.run.checkpoint is None:
        print(f"curves: {shown}/curves.png; to compare: {program_name()} compare {quoted} OTHER_RUN")
