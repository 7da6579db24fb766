"""`python main.py audit with DATA [--out DIR]`: find the shortcut in a data set without using its bias labels.

DATA are the words that select a data set, as for a run, such as `custom data.csv=images.csv`; seed=N is the seed of the
small networks that look for the shortcut. Writes audit.csv, audit.html and contact sheets.

Examples:
  python main.py audit with custom data.images=photographs
  python main.py audit with colored_mnist severity4 data.skew=0.01 --out findings
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debiaslab.analysis.query import parse_literal
from debiaslab.analysis.restored_run import RestoredRun, restore_run
from debiaslab.auditing.findings import Findings, collect_findings
from debiaslab.auditing.images import read_images
from debiaslab.auditing.next_command import next_command
from debiaslab.auditing.page import write_page
from debiaslab.auditing.recorded import score_by_run
from debiaslab.auditing.scoring import DEFAULT_SCORE, SCORES, limit_threads, score_images
from debiaslab.auditing.sheets import make_sheets, write_sheets
from debiaslab.auditing.table import AUDIT, INFERRED, has_inferred, write_audit, write_inferred
from debiaslab.commands.named_runs import find_named_runs
from debiaslab.commands.run_query import DEFAULT_LOG_DIR
from debiaslab.commands.words import one_of_these, read_words, word
from debiaslab.config import ex
from debiaslab.core.console import show
from debiaslab.core.errors import UserError
from debiaslab.core.files import remove_if_failed, require_writable
from debiaslab.recording.configuration import unchecked_configuration
from debiaslab.settings.declared import places
from debiaslab.settings.setup import check_data, load_once
from debiaslab.training.device import choose_device


@dataclass(frozen=True, kw_only=True)
class AuditWords:
    out: str = word("folder to write into, as --out", "audit")
    epochs: int | None = word("epochs of the small networks; default: by the number of images")
    score: str | None = word("score of the images: ecs (default), gce or loss", read=one_of_these("score", SCORES))
    run: str | None = word("recorded run, id or folder: audit its data, scored by its biased network")


WORDS = AuditWords


def run(updates: Sequence[str]) -> None:
    """Audit a data set, print the findings and write them. Raises `UserError` before anything is written."""
    words, data_words = read_words(AuditWords, updates)
    folder = Path(words.out)
    for name, value in {"epochs": words.epochs, "score": words.score}.items():
        if words.run is not None and value is not None:
            raise UserError(f"{name}={value} has no effect with run={words.run}, whose networks are trained; remove it")
    with remove_if_failed(folder):
        if words.run is None:
            findings, command = audit_data(folder, data_words, words)
        else:
            findings, command = audit_run(folder, restore(words.run, data_words))
        show(findings.summary(), *findings.describe_classes(), *findings.data.notes, *findings.describe_verification())
        write(folder, findings, command)


def audit_data(folder: Path, data_words: Sequence[str], words: AuditWords) -> tuple[Findings, str]:
    """(findings in the data set that `data_words` select, the next command)."""
    config = unchecked_configuration(ex, data_words)
    settings, dataset = check_data(config)
    device = choose_device(settings.device)
    require_folder(folder)
    data = load_once(dataset)
    images = read_images(data)
    with limit_threads(images):
        scores = score_images(images, settings.seed, device, words.epochs, words.score or DEFAULT_SCORE)
        findings = collect_findings(data, images, scores, settings.seed, device, has_known_bias(config))
    return findings, next_command(folder, findings, data_words, config["data"])


def audit_run(folder: Path, restored: RestoredRun) -> tuple[Findings, str]:
    """(findings in the data of a run, scored by its networks, the next command)."""
    require_folder(folder)
    setup = restored.setup
    data = setup.load_data()  # `restored.data` may be in memory, without file names
    images = read_images(data)
    with limit_threads(images):
        scores = score_by_run(restored, images)
        findings = collect_findings(data, images, scores, setup.run.seed, setup.device(), has_known_bias(setup.config))
    return findings, next_command(folder, findings, None, setup.config["data"])


def has_known_bias(config: Mapping[str, Any]) -> bool:
    """Whether the data set's bias labels, if it has any, were not inferred by an audit themselves."""
    return not config["data"].get("inferred_bias", False)


def require_folder(folder: Path) -> None:
    """Raise `UserError` unless `folder` is writable, and new, empty or that of an earlier audit."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / AUDIT).exists():
        raise UserError(f"out={folder} contains other files; choose a new folder, or that of an earlier audit")
    require_writable(folder, "out")


def restore(name: str, words: Sequence[str]) -> RestoredRun:
    """Restore the run `name`; `words` may set places on this machine, such as data.root. Raises `UserError`."""
    changes = {setting: parse_literal(value) for setting, _, value in (update.partition("=") for update in words)}
    for setting in changes:
        if setting not in places():
            raise UserError(f"run={name} determines the data: remove {setting}; only places like data.root may be set")
    (record, *_) = find_named_runs([name], str(changes.get("log_dir", DEFAULT_LOG_DIR)))
    return restore_run(record, "last", changes)


def write(folder: Path, findings: Findings, command: str) -> None:
    """Write tables, sheets and page, each atomically, and print their paths and the next command."""
    sheets = make_sheets(findings)
    tables = [write_audit(folder, findings)]
    if has_inferred(findings):
        tables.append(write_inferred(folder, findings))
    else:
        (folder / INFERRED).unlink(missing_ok=True)  # of an earlier audit
    write_sheets(folder, sheets)
    page = write_page(folder, findings, sheets, command)
    show(f"written: {', '.join(map(str, [*tables, page]))}", f"next: {command}")
