"""`python main.py export_model RUN [--out FOLDER]`: export the classifier of a run to files that other programs run.

Writes it as ONNX, as a torch.export program and, if it is a network of torchvision, with torchvision's names
(safetensors); its preprocessing (JSON); and a model card, README.md. The files are run and compared with PyTorch before
they appear in FOLDER. Needs only the record, and the extra onnx.

Examples:
  python main.py export_model runs/20261130-100339-7c1e --out model
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from debiaslab.commands.named_runs import find_one_run, only_name
from debiaslab.commands.words import read_words, require_no_others, word
from debiaslab.core.console import show
from debiaslab.core.files import atomic_write, require_writable
from debiaslab.prediction.classifier import restore_classifier
from debiaslab.prediction.exporting import ONNX, PROGRAM, TORCHVISION, export, keep_classifier_alone
from debiaslab.prediction.model_card import model_card

CARD, PREPROCESSING = "README.md", "preprocessing.json"
FILES = {
    ONNX: "for ONNX Runtime and others; any batch size",
    PROGRAM: "for PyTorch: `torch.export.load(FILE).module()`; any batch size",
    **{file: f"state dict of `torchvision.models.{name}`, in safetensors" for name, file in TORCHVISION.items()},
    PREPROCESSING: "class names and preprocessing",
}


@dataclass(frozen=True, kw_only=True)
class ExportModelWords:
    ids: tuple[str, ...] = word("the run, if it does not follow the command", (), name="id")
    out: str = word("folder to write into, as --out", "exported")
    rule: str | None = word("rule that selected the weights: last, or the run's setting selection (default)")
    log_dir: str = word("folder of the records", "runs")


WORDS = ExportModelWords


def run(updates: Sequence[str]) -> None:
    """Write the files, and print how much their logits differ from PyTorch's. Raises `UserError`."""
    words, others = read_words(ExportModelWords, updates)
    require_no_others(ExportModelWords, others)
    record = find_one_run(only_name(words.ids, "export_model RUN"), words.log_dir)
    classifier = restore_classifier(record, words.rule)
    keep_classifier_alone(classifier)
    facts = {"run": record.id, "classes": classifier.class_names, **classifier.preprocess.facts()}
    with TemporaryDirectory() as name:
        folder = Path(name)
        differences = export(classifier, folder, facts)
        (folder / PREPROCESSING).write_text(json.dumps(facts, indent=2))
        written = {name: what for name, what in FILES.items() if (folder / name).exists()}
        (folder / CARD).write_text(model_card(record, classifier, written), encoding="utf-8")
        move_files(folder, Path(words.out))
    for name, difference in differences.items():
        show(f"{name}: its logits differ from PyTorch's by {difference:.1e} of the largest, in batches of 1, 2 and 7")
    show(f"{words.out}: {', '.join(name for name in (*written, CARD))}")


def move_files(folder: Path, out: Path) -> None:
    """Copy the files of `folder` into `out`, each atomically, and remove other files of an earlier export.

    Raises `UserError` if they cannot be written.
    """
    paths = sorted(folder.iterdir())
    require_writable(out, "out", sum(path.stat().st_size for path in paths))
    for name in {*FILES, CARD} - {path.name for path in paths}:
        (out / name).unlink(missing_ok=True)
    for path in paths:
        with atomic_write(out / path.name) as temporary:
            temporary.write_bytes(path.read_bytes())
