"""A sample of what `python -m tests.fuzz` tries, the same in every run."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import KINDS
from tests.fuzz.tries import called, run_tries, table


@pytest.mark.long
@pytest.mark.parametrize(("kind", "tries"), [("records", 30), ("documents", 15), ("settings", 25), ("words", 25)])
def test_whatever_is_odd_or_damaged_ends_in_a_result_or_a_line(kind: str, tries: int, tmp_path: Path) -> None:
    with KINDS[kind](tmp_path) as attempt:
        outcomes = run_tries(attempt, 0, range(tries), tmp_path)
    assert [outcome for outcome in outcomes if outcome.failure] == []
    assert len({outcome.what for outcome in outcomes}) > 5


@pytest.mark.long
def test_killed_runs_are_resumed_bit_by_bit(tmp_path: Path) -> None:
    with KINDS["kills"](tmp_path) as attempt:
        outcomes = run_tries(attempt, 0, range(2), tmp_path)
    assert [outcome.failure for outcome in outcomes] == [None, None]


def test_failures_are_counted_by_what_was_damaged(tmp_path: Path) -> None:
    def attempt(random: Random, place: Path) -> tuple[str, str | None]:
        assert list(place.iterdir()) == []
        number = random.randrange(1000)
        return ("odd" if number % 2 else "even"), ("fails" if number % 2 else None)

    first, again = (run_tries(attempt, 7, range(20), tmp_path) for _ in range(2))
    assert first == again
    odd = sum(outcome.what == "odd" for outcome in first)
    assert 0 < odd < 20
    assert f"| odd | {odd} | {odd} |" in table(first)
    assert f"| all | 20 | {odd} |" in table(first)


def test_what_escapes_is_a_failure() -> None:
    def run(words: list[str]) -> int:
        print("said")
        raise KeyError(words[0])

    printed = called(run, ["x"])
    assert (printed.out, printed.code) == ("said\n", -1)
    assert printed.escaped is not None
    assert "KeyError: 'x'" in printed.escaped
