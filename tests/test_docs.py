"""The examples of the documentation give what they say."""

import doctest
import json
import re
from pathlib import Path
from typing import Any

import pytest

from debiaslab.models import MODELS
from tests.analysis.recorded import write_record
from tests.conftest import Command

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


def test_a_network_of_one_s_own(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "models.md").read_text()
    example = re.search(r"```python\n(# models/yours\.py\n.*?)```", text, re.DOTALL)
    line = re.search(r'`"(two_convolutions)": (\w+)`', text)
    words = re.search(r"python main\.py (with digits method=erm model=two_convolutions .*)", text)
    assert example is not None
    assert line is not None
    assert words is not None
    (tmp_path / "network_of_one_s_own.py").write_text(example[1])
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__("network_of_one_s_own")
    monkeypatch.setitem(MODELS, line[1], getattr(module, line[2]))
    outcome = command(*words[1].split(), "smoke")
    assert outcome.code == 0
    assert outcome.record("config.json")["model"] == {
        "name": "two_convolutions",
        "pretrained": "none",
        "hparams": {"width": 32},
    }


def test_the_cells_of_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "notebook", "exec"), names)
    assert sorted(names["results"].method) == ["erm", "lff"]
    assert set(names["curves"].split) == {"valid", "test"}
    assert names["groups"].correct.sum() > 0
    assert names["probability"].sum().item() == pytest.approx(1)
