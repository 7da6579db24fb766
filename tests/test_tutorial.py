"""docs/tutorial.md: its commands, in their order, as they stand there."""

import csv
import os
import re
import shlex
from pathlib import Path

import numpy
import pytest
from sklearn.datasets import load_sample_images

from scripts import two_cameras
from tests.conftest import Command

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
PATCH = 32  # pixels
COUNTS = {"train": 400, "test": 60}  # patches of each class


def commands() -> list[list[str]]:
    """The words of the tutorial's commands, after `python main.py`; the first one makes the photographs."""
    blocks = re.findall(r"```bash\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    first, *others = [shlex.split(line, comments=True) for line in lines if line]
    assert first == ["python", "-m", "scripts.two_cameras", "photographs"]
    assert all(words[:2] == ["python", "main.py"] for words in others)
    return [words[2:] for words in others]


def patches() -> dict[str, dict[str, two_cameras.Images]]:
    """Patches of the two photographs that scikit-learn has, training and test patches from different halves."""
    generator = numpy.random.default_rng(0)
    found: dict[str, dict[str, two_cameras.Images]] = {}
    for split, count in COUNTS.items():
        found[split] = {}
        for name, photograph in zip(two_cameras.OURS, load_sample_images().images, strict=True):
            middle = photograph.shape[1] // 2
            half = photograph[:, :middle] if split == "train" else photograph[:, middle:]
            tops, lefts = (generator.integers(0, size - PATCH, count) for size in half.shape[:2])
            corners = zip(tops, lefts, strict=True)
            found[split][name] = numpy.stack([half[top : top + PATCH, left : left + PATCH] for top, left in corners])
    return found


def accuracies(out: str) -> dict[str, float]:
    """Metric -> accuracy in %, of the prediction, from the last table that a command has printed."""
    lines = [line for line in out.splitlines() if line.strip()]
    position = max(number for number, line in enumerate(lines) if line.startswith(" test (%)"))
    names = re.split(r" {2,}", lines[position].strip())[1:]
    values = lines[position + 2].split()[1:]
    return dict(zip(names, map(float, values), strict=True))


def rows(file: str) -> list[dict[str, str]]:
    with Path(file).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.long
def test_the_commands_work_on_any_photographs(command: Command) -> None:
    """On patches of photographs, and shorter; which camera took them need not be found here."""
    two_cameras.write_photographs(Path("photographs"), patches())
    for words in commands():
        short = ["num_steps=20"] if words[0] == "with" else []
        outcome = command(*words, *short)
        assert (outcome.code, outcome.err) == (0, ""), words
        if words[0] == "audit":
            assert outcome.out.startswith("shortcut found: ")
            assert " ".join(next(w for w in commands() if "data.inferred_bias=True" in w)[:4]) in outcome.out


@pytest.mark.long
def test_erm_fails_and_a_method_mends_it(command: Command) -> None:
    root = Path(os.environ.get("DEBIAS_DATA", "data")).absolute()
    if not any((root / name).exists() for name in ("cifar10", "cifar-10-batches-py", "CIFAR10")):
        pytest.skip("no CIFAR-10 in the folder that DEBIAS_DATA names")
    assert two_cameras.main(["photographs", "--root", str(root)]) == 0
    found = []
    for words in commands():
        outcome = command(*words)
        assert (outcome.code, outcome.err) == (0, ""), words
        if words[0] == "evaluate":
            found.append(accuracies(outcome.out))
    with Path("audit/inferred.csv").open(newline="", encoding="utf-8") as file:
        inferred = {
            row["path"].removeprefix("../"): row["bias_inferred"] == row["target"] for row in csv.DictReader(file)
        }
    with Path("photographs_cameras.csv").open(newline="", encoding="utf-8") as file:
        right = [inferred[row["path"]] == (row["aligned"] == "1") for row in csv.DictReader(file)]
    assert sum(right) / len(right) > 0.9
    erm, mended = found
    assert erm["conflicting"] < 40
    assert mended["conflicting"] > erm["conflicting"] + 30
    assert mended["unbiased"] > erm["unbiased"] + 10
