"""The replays pass on the shipped files, and notice a change."""

from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.golden.__main__ import main, replay

FILES = sorted(Path(__file__).parent.glob("*.npz"))
LARGE = ("end", "learned_mixin", "rebias", "rubi")  # with the network of 7 x 7 convolutions


def changed(source: Path, target: Path, **arrays: Any) -> Path:
    """A copy of a golden file with some arrays replaced (None: left out)."""
    with numpy.load(source) as file:
        content = {name: file[name] for name in file.files} | arrays
    numpy.savez(target, **{name: array for name, array in content.items() if array is not None})
    return target


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.long] if path.stem in LARGE else []) for path in FILES],
)
def test_replay(path: Path) -> None:
    comparisons = replay(path)
    assert len(comparisons) >= 8
    assert [comparison for comparison in comparisons if not comparison.passed] == []


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(__file__).parent / "denetdm.npz"
    with numpy.load(source) as file:
        loss, meta = file["stage2/loss"].copy(), str(file["meta"])
    loss[7] *= 1.001
    wrong = changed(source, tmp_path / "wrong.npz", **{"stage2/loss": loss})
    assert main([str(source)]) == 0
    assert main([str(source), str(wrong)]) == 1
    assert "FAILED" in capsys.readouterr().out
    other_temperature = changed(
        source, tmp_path / "t.npz", meta=numpy.array(meta.replace('"temperature": 2', '"temperature": 3'))
    )
    assert main([str(other_temperature)]) == 1


def test_unreadable_files(tmp_path: Path) -> None:
    source = Path(__file__).parent / "denetdm.npz"
    garbage = tmp_path / "garbage.npz"
    garbage.write_bytes(b"PK\x03\x04 no archive")
    truncated = tmp_path / "truncated.npz"
    truncated.write_bytes(source.read_bytes()[:5000])
    no_batches = changed(source, tmp_path / "no_batches.npz", batches=None)
    other = changed(source, tmp_path / "other.npz", meta=numpy.array('{"method": "magic"}'))
    for path in (garbage, truncated, no_batches, other, tmp_path / "missing.npz"):
        assert main([str(path)]) == 2
    assert main([]) == 2
