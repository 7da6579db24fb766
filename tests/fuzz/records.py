"""Damaged records among good ones: in files, and in MongoDB."""

import base64
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy
import pymongo
from bson.errors import BSONError
from PIL import Image

from debiaslab import main
from debiaslab.analysis.file_store import INDEX
from debiaslab.recording.server import free_port, running_server
from tests.fuzz.damage import BYTES, damages_of, mutated
from tests.fuzz.tries import Attempt, Printed, called

RUNS = {"good-1": ("erm", "seed=1"), "good-2": ("erm", "seed=2"), "whole": ("lff_be", "seed=1")}
SMOKE = ("digits", "smoke", "model.hparams.widths=[4]")
# commands that show what they can of the good runs, however many others are damaged
ASKING: tuple[tuple[str, ...], ...] = (
    ("results",),
    ("results", "list=True"),
    ("results", "format=latex", "rule=last,oracle_test_worst_group"),
    ("results", "format=csv", "metric=test/accuracy", "rule=best_valid_unbiased"),
    ("results", "format=markdown", "method=erm"),
    ("compare", "digits"),
    ("report", "out={out}"),
    ("export", "out={out}"),
    ("plots", "kind=curves", "out={out}"),
    ("plots", "kind=groups,weights", "out={out}"),
)
# commands about the damaged run alone, or about all: one line is an answer
OTHERS: tuple[tuple[str, ...], ...] = (
    ("study", *SMOKE, "methods=erm,lff_be", "seeds=1-2", "list=True"),
    ("compare", "id={log_dir}/{run}"),
    ("rerun", "id={log_dir}/{run}"),
    ("plots", "kind=ratios,decodability", "out={out}"),
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@dataclass(frozen=True)
class Template:
    """A folder of good records, and a picture elsewhere that no command may show."""

    runs: Path
    secret: Path


@contextmanager
def records(folder: Path) -> Iterator[Attempt]:
    """One file of one run is damaged, or the index; then one command is called."""
    template = recorded(folder)

    def attempt(random: Random, place: Path) -> tuple[str, str | None]:
        log_dir, out = place / "runs", place / "out"
        shutil.copytree(template.runs, log_dir)
        shutil.copy(template.secret, place / "secret.png")
        words = random.choice((*ASKING, *ASKING, *OTHERS))
        run = "good-1" if words[0] == "rerun" else random.choice(("good-1", "whole"))
        files = [*sorted(path for path in (log_dir / run).iterdir() if path.suffix != ".png"), log_dir / INDEX]
        path = random.choice(files)
        repeatable = path.name == INDEX and words[0] != "rerun"  # which prints the id of a new run
        before = called(main.run, command(words, log_dir, place / "before", run)) if repeatable else None
        damage = random.choice(damages_of(path) if path.name != INDEX else BYTES)
        damage(path, random, place / "secret.png")
        printed = called(main.run, command(words, log_dir, out, run))
        shown = [name for name in RUNS if name != run]
        failure = what_is_wrong(printed, words, shown, out, template.secret)
        if (
            before is not None
            and failure is None
            and printed.out != before.out.replace(str(place / "before"), str(out))
        ):
            failure = f"another answer than before:\n{before.out}\n{printed.out}"
        return f"{path.name}, {damage.__name__.replace('_', ' ')}", describe(failure, words, printed)

    yield attempt


@contextmanager
def documents(folder: Path) -> Iterator[Attempt]:
    """The document of one run in MongoDB is damaged; then one command is called."""
    template = recorded(folder)
    port = free_port()
    with running_server(port, folder / "mongo"), pymongo.MongoClient[dict[str, Any]]("localhost", port) as client:
        address = f"localhost:{port}:fuzz"
        assert main.run(["-m", address, "sync", "with", f"log_dir={template.runs}"]) == 0
        runs = client["fuzz"].runs

        def attempt(random: Random, place: Path) -> tuple[str, str | None]:
            good = random.choice(list(runs.find()))
            part = random.choice([name for name in good if name != "_id"])
            damaged = mutated_document(good, part, random)
            try:
                runs.replace_one({"_id": good["_id"]}, damaged)
            except (BSONError, OverflowError, UnicodeError, ValueError, pymongo.errors.PyMongoError):
                return f"{part}, cannot be stored", None
            words = random.choice(ASKING)
            out = place / "out"
            printed = called(main.run, ["-m", address, *command(words, place, out, "")])
            runs.replace_one({"_id": good["_id"]}, good)
            failure = what_is_wrong(printed, words, [], out, template.secret)
            return part, describe(failure, words, printed)

        yield attempt


def mutated_document(document: dict[str, Any], part: str, random: Random) -> dict[str, Any]:
    copy = {**document, part: mutated({"": deepcopy(document[part])}, random)}
    if isinstance(copy[part], dict) and "" in copy[part]:
        copy[part] = copy[part][""]
    return copy


def recorded(folder: Path) -> Template:
    runs, secret = folder / "template", folder / "secret.png"
    for name, (method, *more) in RUNS.items():
        places = (f"log_dir={runs}", f"data.root={folder / 'data'}")
        assert main.run([f"--id={name}", "with", *SMOKE, f"method={method}", *more, *places]) == 0
    assert main.run(["results", "with", f"log_dir={runs}"]) == 0  # makes the index
    assert (runs / INDEX).exists()
    pixels = numpy.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(secret)
    return Template(runs, secret)


def command(words: Sequence[str], log_dir: Path, out: Path, run: str) -> list[str]:
    name, *rest = (word.format(log_dir=log_dir, out=out, run=run) for word in words)
    return [name, "with", *rest, f"log_dir={log_dir}"]


def what_is_wrong(printed: Printed, words: Sequence[str], shown: Sequence[str], out: Path, secret: Path) -> str | None:
    """None if the command ended with a result or a line, and showed the good runs and nothing from elsewhere."""
    if printed.escaped is not None:
        return printed.escaped
    if printed.code not in (0, 1, 2):
        return f"exit code {printed.code}"
    if printed.code == 2 and len(printed.err.strip().splitlines()) - printed.err.count("left out: ") > 1:
        return "more than one line of error"
    if words in ASKING and printed.code != 0:
        return f"stopped by one record: {printed.err.strip()}"
    if "list=True" in words and words[0] == "results" and not all(name in printed.out for name in shown):
        return "a good run is not shown"
    for text in (printed.out, printed.err):
        if CONTROL.search(text):
            return f"control characters in {text!r}"
    marks = (secret.read_bytes()[-40:], base64.b64encode(secret.read_bytes())[:60])
    for file in out.rglob("*"):
        if file.is_file() and any(mark in file.read_bytes() for mark in marks):
            return f"{file.name} has what is elsewhere"
    return None


def describe(failure: str | None, words: Sequence[str], printed: Printed) -> str | None:
    if failure is None:
        return None
    return f"{' '.join(words)}\n{printed.out[-500:]}{printed.err[-500:]}\n{failure.strip()}"
