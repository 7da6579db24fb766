from pathlib import Path

import numpy
from PIL import Image

from analysis.plots import save_curves, save_sample_grid
from datasets import BiasedDataset
from training.history import Evaluation, History


def test_sample_grid_shows_training_images(tmp_path: Path, digits: BiasedDataset) -> None:
    save_sample_grid(tmp_path / "samples.png", digits)
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.format == "PNG"
        assert len(numpy.unique(numpy.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_curves(tmp_path: Path) -> None:
    def point(phase: str, epoch: int, *branches: str) -> Evaluation:
        return Evaluation(
            phase, epoch, epoch, epoch, {}, {"test": {branch: [[epoch, 0], [1, 2]] for branch in branches}}
        )

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
