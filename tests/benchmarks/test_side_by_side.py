"""The benchmarks' own arithmetic: what is timed, and how it is told. No test depends on how fast a machine is."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from benchmarks import results, side_by_side
from benchmarks.machine import Rates, Work, adam, linear
from benchmarks.side_by_side import USUAL, Row, SideBySide, compare, peak_memory
from debiaslab.core import process


class Clock:
    """Time passes only as `sleeper` says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleeper(self, seconds: list[float]) -> Callable[[], object]:
        durations = iter(seconds)

        def work() -> None:
            self.now += next(durations)

        return work


def test_pairs_of_repeats_are_compared_and_the_first_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "SETTLE", 0)
    clock = Clock()
    pair = SideBySide(
        name="x",
        ours=lambda: clock.sleeper([100.0, 1.0, 2.0, 4.0]),
        baseline=lambda: clock.sleeper([1.0, 3.0, 8.0, 8.0]),
        unit="ms per step",
        count=10,
        repeats=3,
        clock=clock,
        memory=False,
    )
    row = compare(pair)
    assert row.ours == pytest.approx(200.0)
    assert row.baseline == pytest.approx(800.0)
    assert (row.ratio, row.least, row.most) == (3.0, 2.0, 4.0)


def notes(path: Path, name: str) -> Callable[[], object]:
    """A repeat notes its process, and two settings that PyTorch reads when it is imported."""

    def note() -> None:
        with path.open("a") as file:
            file.write(f"{name} {os.getpid()} {os.environ['GOMP_SPINCOUNT']} {os.environ['THP_MEM_ALLOC_ENABLE']}\n")

    return note


@pytest.mark.processes
def test_wall_time_is_that_of_two_processes_of_which_one_has_our_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "SETTLE", 0)
    path = tmp_path / "notes"
    for name, value in process.ENVIRONMENT.items():  # as the program of the benchmarks sets it
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    compare(
        SideBySide(
            name="x",
            ours=partial(notes, path, "ours"),
            baseline=partial(notes, path, "baseline"),
            unit="s",
            repeats=2,
            memory=False,
        )
    )
    assert dict(os.environ) == before
    lines = [line.split() for line in path.read_text().splitlines()]
    assert [line[0] for line in lines] == ["baseline", "ours", "ours", "baseline", "ours", "baseline"]
    ours, baseline = ({tuple(line[1:]) for line in lines if line[0] == name} for name in ("ours", "baseline"))
    (own,), (other,) = ours, baseline
    assert len({own[0], other[0], str(os.getpid())}) == 3
    assert own[1:] == tuple(process.ENVIRONMENT.values())
    assert other[1:] == tuple(USUAL.values())


def large() -> Callable[[], object]:
    return lambda: (b"x" * 2**28).count(b"y")


def small() -> Callable[[], object]:
    return lambda: None


@pytest.mark.processes
def test_memory_is_that_of_a_process_of_its_own() -> None:
    held = b"x" * 2**30  # more than PyTorch itself takes, with CUDA, too
    without = peak_memory(small)
    assert peak_memory(large) - without == pytest.approx(0.25, abs=0.05)
    assert without < len(held) / 2**30


def test_a_roofline_is_the_slower_of_arithmetic_and_memory() -> None:
    rates = Rates(operations=100.0, bytes=10.0)
    assert rates.seconds(Work(operations=1_000.0, bytes=10.0)) == 10.0
    assert rates.seconds(Work(operations=1_000.0, bytes=200.0) + Work(bytes=100.0)) == 30.0
    forward = linear(64, 100, 10, backward=False)
    assert forward == Work(2 * 64 * 100 * 10, 4 * (64 * 100 + 100 * 10 + 64 * 10))
    assert linear(64, 100, 10, backward=True, input_gradient=True) == forward * 3
    assert adam(5).bytes == 5 * 28


def test_kept_results_become_the_tables_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, place in (("ROOT", ""), ("LATEST", "latest"), ("KEPT", "kept"), ("PAGE", "page.md")):
        monkeypatch.setattr(results, name, tmp_path / place)
    results.PAGE.write_text(f"before\n{results.BEGIN}\nan old table\n{results.END}\nafter\n")
    compared = Row(name="a", unit="s", ours=0.5, against="plain", baseline=1.5, ratio=3.0, least=2.9, most=3.1)
    results.save("first", [compared], load_before=0.0)
    results.save("second", [Row(name="b", unit="s", ours=1234.0)], load_before=0.0)
    (results.LATEST / "growth.png").write_bytes(b"a plot")
    results.keep()
    assert (tmp_path / "images" / "growth.png").read_bytes() == b"a plot"
    page = results.PAGE.read_text()
    assert page.startswith(f"before\n{results.BEGIN}")
    assert page.endswith(f"{results.END}\nafter\n")
    assert "an old table" not in page
    assert "| a | s | 0.5 | 1.5 (plain) | 3 (2.9 to 3.1) |" in page
    assert "| b | s | 1,234 |" in page
    record = json.loads((tmp_path / "kept" / "first.json").read_text())
    assert record["rows"][0]["ratio"] == 3.0
    assert page.index("### first") < page.index("### second")
