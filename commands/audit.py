"""`python main.py audit with DATA [--out DIR]`: the shortcut in a data set, found without its bias labels.

DATA are the words of a data set, as for a run, such as `custom data.csv=images.csv`; seed=N is that of the networks
that look for the shortcut. audit.csv, audit.html and the contact sheets are written.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debiaslab.analysis.restored_run import RestoredRun, restore_run
from debiaslab.auditing.findings import Findings, find
from debiaslab.auditing.images import read_images
from debiaslab.auditing.page import write_page
from debiaslab.auditing.recorded import score_by_run
from debiaslab.auditing.scoring import score_images, threads_for_copies
from debiaslab.auditing.sheets import make_sheets, write_sheets
from debiaslab.auditing.table import INFERRED, write_audit, write_inferred
from debiaslab.commands.named_runs import find_named_runs
from debiaslab.commands.run_query import DEFAULT_LOG_DIR, parse_literal
from debiaslab.commands.words import read_words, word
from debiaslab.config import ex
from debiaslab.core.console import show
from debiaslab.core.errors import UserError
from debiaslab.core.files import nothing_left_behind, require_writable
from debiaslab.recording.configuration import unchecked_configuration
from debiaslab.settings.declared import places
from debiaslab.settings.setup import check_data, load_once
from debiaslab.training.device import choose_device


@dataclass(frozen=True, kw_only=True)
class AuditWords:
    out: str = word("folder to write into, as --out", "audit")
    epochs: int | None = word("length of training of the networks that look for the shortcut; usually chosen")
    run: str | None = word("a recorded run, id or folder, whose data are audited by its biased network")


WORDS = AuditWords


def run(updates: Sequence[str]) -> None:
    """Audit the data set and write what is found, or nothing. Raises `UserError`."""
    words, data_words = read_words(AuditWords, updates)
    folder = Path(words.out)
    if words.run is not None and words.epochs is not None:
        raise UserError(f"epochs={words.epochs} has no effect with run={words.run}, which is trained; leave it out")
    with nothing_left_behind(folder):
        if words.run is None:
            found = audit_data(folder, data_words, words.epochs)
        else:
            restored = restored_run(words.run, data_words)
            require_writable(folder, "out")
            found = audit_run(restored)
            data_words = [f"data.{name}={value}" for name, value in restored.setup.config["data"].items() if value]
        show(found.sentence(), *found.looks(), *found.data.notes, *found.verified())
        write(folder, found, data_words)


def audit_data(folder: Path, words: Sequence[str], epochs: int | None) -> Findings:
    """What is found in the data set of `words`, once it is sure that `folder` can be written."""
    settings, dataset = check_data(unchecked_configuration(ex, words))
    device = choose_device(settings.device)
    require_writable(folder, "out")
    data = load_once(dataset)
    images = read_images(data)
    with threads_for_copies(images):
        return find(data, images, score_images(images, settings.seed, device, epochs), settings.seed, device)


def audit_run(restored: RestoredRun) -> Findings:
    """What is found in the data of a run by its own networks."""
    setup = restored.setup
    data = setup.load_data()  # with the names of files, which those on the device lack
    images = read_images(data)
    with threads_for_copies(images):
        return find(data, images, score_by_run(restored, images), setup.run.seed, setup.device())


def restored_run(name: str, words: Sequence[str]) -> RestoredRun:
    """The run `name`; `words` may say where things are on this machine, such as data.root=DIR. Raises `UserError`."""
    changes = {setting: parse_literal(value) for setting, _, value in (update.partition("=") for update in words)}
    for setting in changes:
        if setting not in places():
            raise UserError(f"run={name} says which data: leave {setting} out; data.root=DIR may say where they are")
    (record, *_) = find_named_runs([name], str(changes.get("log_dir", DEFAULT_LOG_DIR)))
    return restore_run(record, "last", changes)


def write(folder: Path, found: Findings, data_words: Sequence[str]) -> None:
    """Write tables, sheets and page, each complete or not at all, and say where they are and what to type next."""
    sheets = make_sheets(found)
    command = next_command(folder, found, data_words)
    tables = [write_audit(folder, found)]
    if found.verdict.found and found.images.files is not None:
        tables.append(write_inferred(folder, found))
    else:
        (folder / INFERRED).unlink(missing_ok=True)  # of an earlier audit
    write_sheets(folder, sheets)
    page = write_page(folder, found, sheets, command)
    show(f"written: {', '.join(map(str, [*tables, page]))}", f"next: {command}")


def next_command(folder: Path, found: Findings, data_words: Sequence[str]) -> str:
    """What to type next."""
    words = [update for update in data_words if not update.startswith(("seed=", "device="))]
    if found.verdict.found and found.images.files is not None:
        kept = [update for update in words if update != "custom" and not update.startswith(("data.csv=", "data.name="))]
        words = ["custom", f"data.csv={folder / INFERRED}", "data.inferred_bias=True", *kept]
    method = "method=lff" if found.verdict.found else "method=erm"
    return shlex.join(["python", "main.py", "with", *words, method])
