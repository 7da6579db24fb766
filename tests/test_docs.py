"""The examples of the documentation give what they say."""

import doctest
from pathlib import Path

import pytest

from tests.analysis.recorded import write_record

ROOT = Path(__file__).parents[1]
RESULTS = {"erm": (0.3, 0.4, 0.5), "lff": (0.7, 0.9, 0.8)}


def test_questions_to_recorded_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (method, values) in enumerate(RESULTS.items()):
        for seed, unbiased in enumerate(values, start=1):
            run_id = f"20261122-100000-{number:02}{seed:02}"
            write_record(Path("runs"), run_id=run_id, method=method, seed=seed, unbiased=unbiased)
    found = doctest.testfile(str(ROOT / "docs" / "results.md"), module_relative=False)
    assert found.attempted > 20
    assert found.failed == 0
