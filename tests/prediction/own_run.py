"""A run on a user's own images, as tests of predictions and exports have it."""

from pathlib import Path

from tests.conftest import Command, Outcome
from tests.datasets.own_images import SIZE, bias, save_digits, split, target, write_csv


def train_on_own_images(command: Command, folder: Path, *words: str) -> Outcome:
    """A short run on the images in `folder`/mine, with a small network of LfF, or what `words` say."""
    mine = folder / "mine"
    (mine / "images").mkdir(parents=True, exist_ok=True)
    save_digits(mine / "images")
    csv = write_csv(mine / "mine.csv", "path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{split(n)}")
    usual = (f"data.csv={csv}", f"data.image_size={SIZE}", "data.cache=cache", "num_steps=30", "seed=2")
    network = words if words else ("method=lff", "model=mlp", "model.hparams.widths=[16]")
    outcome = command("with", "custom", *usual, *network)
    assert outcome.code == 0, outcome.err
    return outcome
