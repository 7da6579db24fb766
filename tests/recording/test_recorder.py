import re
from pathlib import Path
from typing import Any

import pytest

from debiaslab.evaluation.history import Evaluation, History
from debiaslab.recording.progress import ProgressLine
from debiaslab.recording.recorder import RunRecorder
from tests.conftest import Command


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


def test_a_log_has_a_line_for_each_evaluation(command: Command, tmp_path: Path) -> None:
    words = ("digits", "method=erm", "epochs=3", "method.hparams.batch_size=200", "evaluate_images=50")
    outcome = command("with", *words)
    (folder,) = outcome.runs
    start, *rest = outcome.out.splitlines()
    assert start == f"recording in runs/{folder.name}"
    accuracies = r"valid unbiased [\d.]+, .*accuracy [\d.]+ %"
    place = rf"train epoch {{0}}, step {{1}} of 18, loss [\d.e-]+; {accuracies}; \d+ s left of train"
    lines = [line for line in rest if line.startswith("train epoch")]
    for epoch, line in enumerate(lines, start=1):
        assert re.fullmatch(place.format(epoch, 6 * epoch), line)
    assert len(lines) == 3
    assert (folder / "cout.txt").read_text().splitlines()[: 1 + len(lines)] == [start, *lines]


def test_what_is_resumed_is_told_once(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("digits", "method=erm", "epochs=3", "method.hparams.batch_size=200", "checkpoint_seconds=0")
    told: list[tuple[str, int]] = []
    log = ProgressLine.log

    def log_twice(line: ProgressLine, text: str) -> None:
        told.append(line.place[:2])
        log(line, text)
        if len(told) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressLine, "log", log_twice)
    (killed,) = command("with", *words).runs
    assert command("with", *words, f"resume={killed}").code == 0
    assert told == [("train", 6), ("train", 12), ("train", 12), ("train", 18)]
