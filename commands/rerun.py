"""`python main.py rerun RUN [with WORDS]`: repeat a recorded run, and compare the results.

RUN is the id of a completed run, in files or in MongoDB, or its folder. Settings come from its record; WORDS may only
change settings that do not affect results (device=, workers=, log_dir=, data.root=, ...). The exit code is 0 if all
counts and weights are equal or within the tolerance, else 1.

Examples:
  python main.py rerun runs/20261130-100339-7c1e with data.root=/data
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.records import Record
from debiaslab.analysis.repetition import (
    TOLERANCE,
    Repetition,
    changed_files,
    compare_runs,
    differences,
    environment,
    require_readable,
)
from debiaslab.analysis.result import title_of
from debiaslab.commands.from_run import files_of, folder_for, typed_settings
from debiaslab.commands.named_runs import find_one_run, find_run
from debiaslab.commands.runs import prepare
from debiaslab.commands.words import read_words, word
from debiaslab.config import NAMED_CONFIGS, ex
from debiaslab.core.console import show
from debiaslab.core.errors import UserError, one_of, require_known, suggestion
from debiaslab.core.program import CODE, program_name, source_files
from debiaslab.core.settings import flatten, merge
from debiaslab.datasets import dataset_config
from debiaslab.recording.updates import read_updates
from debiaslab.recording.version import code_version
from debiaslab.settings.declared import without_effect_on_results
from debiaslab.settings.run import TRIAL_SETTINGS
from debiaslab.settings.setup import load_once

# settings that a rerun may change
PLACES = without_effect_on_results() - {"train", "checkpoint", *TRIAL_SETTINGS}
SHOWN_FILES = 5


def read_tolerance(name: str, text: str) -> float:
    try:
        tolerance = float(text)
    except ValueError:
        tolerance = -1.0
    if not 0 <= tolerance <= 100:
        raise UserError(f"{name}={text}: must be a percentage of the images, from 0 to 100")
    return tolerance


@dataclass(frozen=True, kw_only=True)
class RerunWords:
    ids: tuple[str, ...] = word("the run, if it is not given after the command", (), name="id")
    tolerance: float = word("allowed difference, in percent of a split's images", TOLERANCE, read=read_tolerance)


WORDS = RerunWords


def run(updates: Sequence[str]) -> int:
    """Repeat the run; returns 0 if the result is equal or within the tolerance, else 1. Raises `UserError`."""
    words, others = read_words(RerunWords, updates)
    ids, tolerance = words.ids, words.tolerance
    places = read_places(others)
    if len(ids) != 1:
        raise UserError(f"which run? Write `{program_name()} rerun RUN`, with the id or the folder of one run")
    log_dir = str(dict(flatten(places)).get("log_dir", "runs"))
    original = find_one_run(ids[0], log_dir, exact=True)
    require_complete(original)
    require_readable(original)
    # a separate run: nothing to resume, and not a trial of a search
    marks = TRIAL_SETTINGS if original.config.get("tuned") is None else ()
    own_place = dict.fromkeys(("resume", *marks)) | {"log_dir": folder_for(ids[0], log_dir)}
    settings = merge(original.config, own_place | places)
    print(f"repeating {original.id}: {title_of(original.config)}, seed {original.config['seed']}")
    say_code(original)
    say_data(original, settings)
    print()
    repeated, added = repeat(original, settings)
    repetition = compare_runs(original, repeated)
    print()
    say_verdict(repetition, tolerance)
    if added:
        show(f"settings that the record does not have, at their defaults: {', '.join(added)}")
    differing = differences(environment(original), environment(repeated))
    show(f"environment: {'; '.join(differing) if differing else 'the same as recorded'}")
    return 0 if repetition.is_within(tolerance) else 1


def read_places(updates: Sequence[str]) -> dict[str, Any]:
    """Parse the words after `with` into nested settings. Raises `UserError` for one that could change the result."""
    names = [update.partition("=")[0] for update in updates]
    for name, update in zip(names, updates, strict=True):
        if "=" not in update and not update.endswith(".json"):
            require_known("named configuration", name, NAMED_CONFIGS)
    settings = typed_settings(*read_updates(ex, list(updates)))
    for name, _ in flatten(settings):
        if name not in PLACES:
            hint = suggestion(name, PLACES)
            raise UserError(f"a rerun cannot change {name}{hint} it can change {one_of(PLACES)}")
    return settings


def require_complete(record: Record) -> None:
    if record.status != "COMPLETED" or record.result is None:
        how = f"resume it with {program_name()} resume {files_of(record)}"
        raise UserError(f"the run {record.id} is {record.state}: only a completed run can be repeated; {how}")


def say_code(record: Record) -> None:
    """Report whether the code is the same as recorded."""
    here = code_version()
    commits = f"commit {record.code}, now {(here['commit'] or 'unknown')[:7]}{'+' if here['changed'] else ''}"
    try:
        changed = changed_files(record, CODE, {str(file.relative_to(CODE)) for file in source_files()})
    except UserError as error:
        show(f"code: {commits}; its files cannot be compared: {error}")
        return
    if not changed:
        show("code: the same as recorded")
        return
    more = f" and {len(changed) - SHOWN_FILES} more" if len(changed) > SHOWN_FILES else ""
    show(f"code: not as recorded ({commits}): {', '.join(changed[:SHOWN_FILES])}{more}")


def say_data(record: Record, settings: Mapping[str, Any]) -> None:
    """Report whether the data are the same as recorded. Raises `UserError` if they cannot be loaded."""
    try:
        data = load_once(dataset_config(settings["data"]))
    except UserError as error:
        raise cannot_repeat(record, error) from None
    if record.fingerprint is None:
        show(f"data: {data.fingerprint}; the record has no fingerprint")
    elif record.fingerprint == data.fingerprint:
        show("data: the same as recorded")
    else:
        show(f"data: not as recorded (fingerprint {record.fingerprint}, now {data.fingerprint})")


def repeat(original: Record, settings: Mapping[str, Any]) -> tuple[Record, list[str]]:
    """Start a new run with `settings`; returns its record, and settings that the original did not have."""
    try:
        ready = prepare(original.command, settings, info={"repeats": original.id})
    except UserError as error:
        raise cannot_repeat(original, error) from None
    run = ready.start()
    known = dict(flatten(original.config))
    added = [f"{name}={value!r}" for name, value in flatten(run.config) if name not in known]
    return find_run(FileStore(Path(str(settings["log_dir"]))), str(run._id)), added


def cannot_repeat(record: Record, error: UserError) -> UserError:
    return UserError(f"the run {record.id} (code {record.code}) cannot be repeated here: {error}")


def say_verdict(repetition: Repetition, tolerance: float) -> None:
    evaluations = f"{repetition.evaluations} evaluation{'s' if repetition.evaluations != 1 else ''}"
    if repetition.is_identical:
        weights = f", all bits of {' and '.join(repetition.weights)}" if repetition.weights else ", no weights"
        show(f"bit-identical: all counts of {evaluations}{weights}")
        return
    within = repetition.is_within(tolerance)
    show(
        f"equal within the tolerance of {tolerance:g} % of the images of a split"
        if within
        else f"different: beyond the tolerance of {tolerance:g} % of the images of a split"
    )
    if repetition.counts:
        size = f": {repetition.counts:.3g} % of the images" if repetition.counts < inf else ""
        show(f"largest difference of the counts of {evaluations}: {repetition.where}{size}")
    else:
        show(f"the counts of {evaluations} are the same")
    for name, difference in repetition.weights.items():
        far = f"differs by up to {difference:.2g} of a tensor" if difference < inf else "missing, or of another shape"
        show(f"{name}: {'the same' if difference == 0 else far}")
