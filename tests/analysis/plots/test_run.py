from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from debiaslab.analysis.plots import run as plots
from debiaslab.analysis.plots import save_curves, save_diagnostics
from debiaslab.analysis.plots.chart import Panel
from debiaslab.evaluation.history import Evaluation, History


def point(phase: str, epoch: int, *branches: str, counts: Any = None) -> Evaluation:
    counts = [[epoch, 0], [1, 2]] if counts is None else counts
    return Evaluation(phase, epoch, epoch, epoch, {"loss": 0.5}, {"test": dict.fromkeys(branches, counts)})


def test_curves(tmp_path: Path) -> None:
    history = History(
        [
            point("separate", 1, "shallow", "deep"),
            point("separate", 2, "shallow", "deep"),
            point("distill", 1, "target"),
        ],
        {"test": [[4, 4], [4, 4]]},
        [[True, False], [False, True]],
    )
    save_curves(tmp_path / "curves.png", history, "title")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size[0] > picture.size[1]


@pytest.mark.parametrize(
    ("total", "aligned", "expected"),
    [
        ([[4, 4], [4, 4]], [[True, False], [False, True]], {"conflicting", "aligned"}),
        ([[0, 4], [4, 0]], [[True, False], [False, True]], {"conflicting"}),
        ([[4, 4], [4, 4]], [[False, False], [False, False]], {"unbiased", "worst_group"}),
        ([[4], [4]], [[False, False], [False, False]], {"accuracy"}),
    ],
    ids=["all known", "no aligned image", "no usual pairs", "no bias labels"],
)
def test_pictures_show_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: Any, aligned: Any, expected: set[str]
) -> None:
    history = History([point("train", n, "f", "g", counts=total) for n in (1, 2)], {"test": total}, aligned)
    panels: list[Panel] = []
    monkeypatch.setattr(plots, "save_panels", lambda path, rows, *_, **sizes: panels.extend(chain(*rows)))
    save_curves(tmp_path / "curves.png", history, "title")
    save_diagnostics(tmp_path / "diagnostics.png", history, "title")
    curves, _, branches, losses = panels
    assert {line.label for line in curves.lines} == {f"{name}, {metric}" for name in "fg" for metric in expected}
    assert {line.label for line in branches.lines} == {f"g, {metric}" for metric in expected}
    assert all(line.points[0] == (1, 100) for line in (*curves.lines, *branches.lines))
    assert [(line.label, line.points) for line in losses.lines] == [("loss", [(1, 0.5), (2, 0.5)])]
