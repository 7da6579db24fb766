"""Which runs a question is about: lists, bounds, short names, beginnings of ids."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.analysis.recorded import write_record
from tests.conftest import Command

Ask = Callable[..., str]


@pytest.fixture
def ask(command: Command, tmp_path: Path) -> Ask:
    """The ids that `results list=True` shows, in order; what standard error has, if it fails."""
    for run_id, method, seed, skew, q in (
        ("20261101-a", "erm", 1, 0.005, 0.7),
        ("20261101-b", "lff", 2, 0.01, 0.5),
        ("20261102-a", "lff", 3, 0.05, 0.7),
        ("20261102-ab", "disent", 4, 0.02, 0.7),
    ):
        data = {"skew": skew}
        write_record(tmp_path / "runs", run_id=run_id, method=method, seed=seed, data=data, hparams={"q": q})

    def call(*words: str) -> str:
        outcome = command("results", "with", "list=True", *words, data=False)
        if outcome.code:
            return outcome.err
        return " ".join(sorted(word for word in outcome.out.split() if word.startswith("202611")))

    return call


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["method=erm,disent"], "20261101-a 20261102-ab"),
        (["seed=1,3"], "20261101-a 20261102-a"),
        (["seed=2-3"], "20261101-b 20261102-a"),
        (["seed=1,3-4"], "20261101-a 20261102-a 20261102-ab"),
        (["data.skew<=0.01"], "20261101-a 20261101-b"),
        (["skew>0.01", "skew<0.05"], "20261102-ab"),
        (["data.skew>=0.05"], "20261102-a"),
        (["q=0.5"], "20261101-b"),
        (["method.hparams.q=0.7", "method=lff"], "20261102-a"),
        (["id=20261101"], "20261101-a 20261101-b"),
        (["id=20261102-a"], "20261102-a"),  # an id, though another begins so
        (["id=20261102-ab,20261101-a"], "20261101-a 20261102-ab"),
        (["id=20261101", "method=lff"], "20261101-b"),
    ],
)
def test_what_is_found(ask: Ask, words: list[str], found: str) -> None:
    assert ask(*words) == found


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("method=erm,lfff", "unknown method 'lfff'; did you mean 'lff'?"),
        ("seed=1,,2", "seed=1,,2: something is missing; write seed=A,B"),
        ("data.skew<=much", "data.skew<=much: must be a number behind <="),
        ("batch_sizes=3", "no run has a setting 'batch_sizes'"),
        ("id=2027", "no recorded run matches"),
    ],
)
def test_what_cannot_be_read(ask: Ask, word: str, message: str) -> None:
    assert message in ask(word)


def test_a_user_s_csv_chooses_runs(command: Command, tmp_path: Path) -> None:
    for name in ("cats.csv", "dogs.csv"):
        write_record(tmp_path / "runs", run_id=name, data={"name": "custom", "csv": name, "skew": None})
    shown = command("results", "with", "list=True", "custom", "data.csv=cats.csv", data=False).out
    assert shown.split().count("cats.csv") >= 1
    assert "dogs.csv" not in shown
