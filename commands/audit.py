"""`python main.py audit with DATA [--out DIR]`: the shortcut in a data set, found without its bias labels.

DATA are the words of a data set, as for a run, such as `custom data.csv=images.csv`; seed=N is that of the networks
that look for the shortcut. audit.csv, audit.html and the contact sheets are written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debiaslab.analysis.query import parse_literal
from debiaslab.analysis.restored_run import RestoredRun, restore_run
from debiaslab.auditing.findings import Findings, find
from debiaslab.auditing.images import read_images
from debiaslab.auditing.next_command import next_command
from debiaslab.auditing.page import write_page
from debiaslab.auditing.recorded import score_by_run
from debiaslab.auditing.scoring import DEFAULT_SCORE, SCORES, score_images, threads_for_copies
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
    epochs: int | None = word("length of training of the networks that look for the shortcut; usually chosen")
    score: str | None = word("how images are scored: ecs, usually; gce or loss", read=one_of_these("score", SCORES))
    run: str | None = word("a recorded run, id or folder, whose data are audited by its biased network")


WORDS = AuditWords


def run(updates: Sequence[str]) -> None:
    """Audit the data set and write what is found, or nothing. Raises `UserError`."""
    words, data_words = read_words(AuditWords, updates)
    folder = Path(words.out)
    for name, value in {"epochs": words.epochs, "score": words.score}.items():
        if words.run is not None and value is not None:
            raise UserError(f"{name}={value} has no effect with run={words.run}, which is trained; leave it out")
    with remove_if_failed(folder):
        if words.run is None:
            found, command = audit_data(folder, data_words, words)
        else:
            found, command = audit_run(folder, restored_run(words.run, data_words))
        show(found.sentence(), *found.looks(), *found.data.notes, *found.verified())
        write(folder, found, command)


def audit_data(folder: Path, data_words: Sequence[str], words: AuditWords) -> tuple[Findings, str]:
    """(what is found in the data set of `data_words`, what to type next), once `folder` is known to be fit."""
    config = unchecked_configuration(ex, data_words)
    settings, dataset = check_data(config)
    device = choose_device(settings.device)
    require_folder(folder)
    data = load_once(dataset)
    images = read_images(data)
    with threads_for_copies(images):
        scores = score_images(images, settings.seed, device, words.epochs, words.score or DEFAULT_SCORE)
        found = find(data, images, scores, settings.seed, device, has_known_bias(config))
    return found, next_command(folder, found, data_words, config["data"])


def audit_run(folder: Path, restored: RestoredRun) -> tuple[Findings, str]:
    """The same of the data of a run, by its own networks."""
    require_folder(folder)
    setup = restored.setup
    data = setup.load_data()  # with the names of files, which those on the device lack
    images = read_images(data)
    with threads_for_copies(images):
        scores = score_by_run(restored, images)
        found = find(data, images, scores, setup.run.seed, setup.device(), has_known_bias(setup.config))
    return found, next_command(folder, found, None, setup.config["data"])


def has_known_bias(config: Mapping[str, Any]) -> bool:
    """Whether bias labels that the data set may have are not those of an audit themselves."""
    return not config["data"].get("inferred_bias", False)


def require_folder(folder: Path) -> None:
    """Raise `UserError` unless `folder` can be written, and is new, empty or of an earlier audit."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / AUDIT).exists():
        raise UserError(f"out={folder} has other files in it; choose a new folder, or that of an earlier audit")
    require_writable(folder, "out")


def restored_run(name: str, words: Sequence[str]) -> RestoredRun:
    """The run `name`; `words` may say where things are on this machine, such as data.root=DIR. Raises `UserError`."""
    changes = {setting: parse_literal(value) for setting, _, value in (update.partition("=") for update in words)}
    for setting in changes:
        if setting not in places():
            raise UserError(f"run={name} says which data: leave {setting} out; data.root=DIR may say where they are")
    (record, *_) = find_named_runs([name], str(changes.get("log_dir", DEFAULT_LOG_DIR)))
    return restore_run(record, "last", changes)


def write(folder: Path, found: Findings, command: str) -> None:
    """Write tables, sheets and page, each complete or not at all, and say where they are and what to type next."""
    sheets = make_sheets(found)
    tables = [write_audit(folder, found)]
    if has_inferred(found):
        tables.append(write_inferred(folder, found))
    else:
        (folder / INFERRED).unlink(missing_ok=True)  # of an earlier audit
    write_sheets(folder, sheets)
    page = write_page(folder, found, sheets, command)
    show(f"written: {', '.join(map(str, [*tables, page]))}", f"next: {command}")
