from pathlib import Path
from typing import Any

import pytest

from debiaslab.evaluation.history import Evaluation, History
from debiaslab.recording.progress import ProgressLine
from debiaslab.recording.recorder import RunRecorder


@pytest.mark.parametrize(
    ("total", "note"),
    [([[4, 4], [4, 4]], "test unbiased 75.0 %"), ([[4], [4]], "test accuracy 87.5 %")],
    ids=["bias labels", "none"],
)
def test_the_note_behind_the_bar(
    total: list[list[int]], note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    scalars: dict[str, Any] = {}
    line = ProgressLine()
    monkeypatch.setattr(line, "note", notes.append)
    correct = [[4, 0], [4, 4]] if len(total[0]) == 2 else [[4], [3]]
    evaluation = Evaluation("train", 1, 1, 1, {}, {"test": {"f": correct}})
    history = History([evaluation], {"test": total}, [[True, False], [False, True]])
    recorder = RunRecorder(lambda name, value, step: scalars.update({name: value}), tmp_path, "train", line)
    recorder.evaluated(history, evaluation)
    assert notes == [note]
    assert ("test/unbiased" in scalars) is (len(total[0]) == 2)
