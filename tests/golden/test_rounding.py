"""Rounding errors excuse what they can explain, and nothing else."""

from pathlib import Path

import numpy
import pytest

from tests.golden.__main__ import replay
from tests.golden.format import FINAL_TOLERANCE, TOLERANCE, Comparison, GoldenFile, compare
from tests.golden.rounding import REPEATS, allowing_for_rounding

FILE = Path(__file__).parent / "end.npz"


def replay_that_moves(by: float, error: float, tolerance: float, runs: list[int | None]) -> list[Comparison]:
    """The comparisons after a replay whose values move by `by`, and are off by `error`, relative to the recorded."""

    def replay_once(file: GoldenFile) -> list[Comparison]:
        runs.append(file.noise_seed)
        sign = 0 if file.noise_seed is None else (-1) ** file.noise_seed
        return [
            compare("series", numpy.array([2.0 * (1 + error + sign * by), 1.0]), numpy.array([2.0, 1.0]), tolerance)
        ]

    return allowing_for_rounding(replay_once)(GoldenFile(FILE))


@pytest.mark.parametrize(
    ("by", "error", "tolerance", "passes", "num_repeats"),
    [
        (0.0, 0.9e-4, TOLERANCE, True, 0),  # within the tolerance: no repetition
        (0.0, 1.1e-4, TOLERANCE, False, REPEATS),  # nothing moves: the tolerance counts
        (2e-4, 5e-4, TOLERANCE, True, 1),
        (2e-4, 7e-4, TOLERANCE, False, REPEATS),
        (1e-2, 1.1e-3, TOLERANCE, False, 0),  # never more than ten times the tolerance for a loss
        (1e-2, float("nan"), FINAL_TOLERANCE, False, 0),
        (1e-1, 2e-1, FINAL_TOLERANCE, True, 1),  # a parameter may be nothing but rounding
    ],
)
def test_what_passes(by: float, error: float, tolerance: float, passes: bool, num_repeats: int) -> None:
    runs: list[int | None] = []
    (comparison,) = replay_that_moves(by, error, tolerance, runs)
    assert comparison.passed == passes
    assert comparison.tolerance == tolerance
    assert runs == [None, *range(num_repeats)]


@pytest.mark.long
def test_a_wrong_loss_is_not_excused(tmp_path: Path) -> None:
    with numpy.load(FILE) as file:
        content = {name: file[name] for name in file.files}
    content["meta"] = numpy.array(str(content["meta"]).replace('"alpha": 0.1', '"alpha": 0.2'))
    numpy.savez(tmp_path / "wrong.npz", **content)
    failed = {comparison.series for comparison in replay(tmp_path / "wrong.npz") if not comparison.passed}
    assert {"loss", "terms/regulariser", "reg0/grad_normalised"} <= failed


def test_the_errors_are_of_the_size_of_rounding() -> None:
    file = GoldenFile(FILE)
    images = file.images()
    first, again, second = (file.with_rounding_errors(seed).images() for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(second)
    assert 0 < (first - images).abs().max() < 1e-6
    assert file.images().equal(images)
