"""What a run says: to its record, and to whoever started it."""

import shlex
from pathlib import Path
from typing import Any

import torch

from debiaslab.commands.runs import record_folder
from debiaslab.config import Run
from debiaslab.core.console import printable
from debiaslab.core.program import program_name
from debiaslab.datasets import BiasedDataset
from debiaslab.recording.observers import FileRecord
from debiaslab.recording.version import code_version
from debiaslab.settings.recipes import UNPUBLISHED
from debiaslab.settings.setup import Setup


def facts_of(data: BiasedDataset, device: torch.device) -> dict[str, Any]:
    """What a record says of data, machine and code beside the configuration."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    facts: dict[str, Any] = {"fingerprint": data.fingerprint, "notes": list(data.notes)}
    facts["sizes"] = {name: len(split) for name, split in data.splits().items()}
    names = {"classes": data.class_names, "biases": data.bias_names}
    facts |= {kind: None if found is None else list(found) for kind, found in names.items()}
    return {
        "data": facts,
        "machine": {"device": name, "torch": str(torch.__version__)},
        "code": code_version(),
    }


def say_notes(setup: Setup, data: BiasedDataset) -> None:
    """Print what the user should know of the recipe and of the data that was read."""
    if setup.recipe.source.startswith(UNPUBLISHED):
        print(f"recipe: {setup.recipe.source}")
    for note in data.notes:
        print(printable(note))
    if data.tells_conflicting() and data.aligned_samples(data.train).all():
        print(f"none of the {len(data.train):,} training images conflicts with the bias")


def say_where(setup: Setup, run: Run) -> None:
    """Where the record is, and what to type next."""
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
            print(f"not complete in MongoDB {record.address}, which failed on the way")
        else:
            print(f"recorded in MongoDB {record.address} as run {run._id}")
    if setup.run.checkpoint is None:
        print(f"curves: {shown}/curves.png; to compare: {program_name()} compare {quoted} OTHER_RUN")
