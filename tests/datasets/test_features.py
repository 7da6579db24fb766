"""Features of another network instead of images: a .npy file with a row for each row of the CSV."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.datasets import Split, dataset_config
from debiaslab.datasets.inputs import as_input
from debiaslab.methods import METHODS
from debiaslab.methods.phase import set_modes
from debiaslab.models import Networks, architecture, default_model_hparams
from debiaslab.settings.recipes import resolve
from debiaslab.settings.setup import check
from tests.conftest import Command
from tests.methods.building import build, first_batches
from tests.methods.test_contract import DATA, contract_setup

ROWS, FEATURES = 60, 5


def values(rows: int = ROWS) -> NDArray[Any]:
    """Features that tell the class: the first is its number."""
    features = numpy.random.default_rng(0).random((rows, FEATURES))
    features[:, 0] = numpy.arange(rows) % 2
    return features


def write(folder: Path, name: str, features: NDArray[Any], rows: int = ROWS) -> tuple[str, str]:
    """Write CSV and features; returns the settings that name them."""
    lines = [f"{('cat', 'dog')[row % 2]},{('day', 'night')[row // 2 % 2]}" for row in range(rows)]
    (folder / f"{name}.csv").write_text("\n".join(["target,bias", *lines]))
    numpy.save(folder / f"{name}.npy", features)
    return f"data.csv={folder / name}.csv", f"data.features={folder / name}.npy"


def load(folder: Path, features: NDArray[Any]) -> Any:
    return dataset_config(dict(name="custom", **settings(write(folder, "mine", features)))).load()


def settings(words: tuple[str, ...]) -> dict[str, Any]:
    named = dict(word.removeprefix("data.").split("=") for word in words)
    return named | dict.fromkeys(("image_size", "fit", "augment", "normalize"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_rows_are_read_in_the_order_of_the_csv(tmp_path: Path, dtype: str) -> None:
    features = values().astype(dtype)
    data = load(tmp_path, features)
    assert (data.has_features, data.preprocessing(), data.train.image_shape) == (True, None, (FEATURES,))
    on_file, in_memory = data.train, data.to(torch.device("cpu")).train
    assert (on_file.file_bytes(), in_memory.reader) == (4 * FEATURES * len(on_file), None)
    index = torch.tensor([7, 0, 3])
    for split in (on_file, in_memory):
        found = as_input(split.read(index), data.normalize)
        assert found.dtype == torch.float32
        assert found.equal(torch.from_numpy(features[on_file.images.rows[index].numpy()].astype("float32")))
        assert found[:, 0].equal(split.target[index].float())
    changed = features.copy()
    changed[3, 2] += 1
    assert load(tmp_path, changed).fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[1:], r"mine.npy: float64 \[59, 5\], but \S+mine.csv has 60 rows; compute the features of exactly"),
        (
            lambda a: numpy.where(a == a[4, 3], numpy.nan, a),
            "mine.csv, line 6: row 4 of .* has values that are NaN,",
        ),
        (lambda a: numpy.where(a == a[4, 3], 1e300, a), "line 6: row 4 of .* or beyond float32; compute the features"),
        (
            lambda a: a.round().astype(int),
            r"mine.npy: int64 \[60, 5\], which are no features; write it with",
        ),
        (lambda a: a[:, :, None], r"mine.npy: float64 \[60, 5, 1\], which are no features"),
        (lambda a: a[:, :0], r"mine.npy: float64 \[60, 0\], which are no features"),
        (lambda a: a.astype(object), "mine.npy is not an array of numbers; write it with numpy.save, as float16"),
    ],
    ids=["length", "nan", "large", "integers", "three axes", "none", "objects"],
)
def test_another_array_is_refused(tmp_path: Path, change: Callable[[NDArray[Any]], NDArray[Any]], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path, change(values()))
    assert "\n" not in str(error.value)


def test_another_file_is_refused(tmp_path: Path) -> None:
    words = settings(write(tmp_path, "mine", values()))
    for name, message in (("no.npy", "no file data.features="), ("mine.csv", "is not an array of numbers;")):
        with pytest.raises(UserError, match=message):
            dataset_config({"name": "custom", **words, "features": str(tmp_path / name)}).load()
    numpy.savez(tmp_path / "several.npz", values(), values())
    with pytest.raises(UserError, match=r"several.npz has several arrays; write it with numpy.save"):
        dataset_config({"name": "custom", **words, "features": str(tmp_path / "several.npz")}).load()
    with pytest.raises(UserError, match=r"data\.images=folder and data\.features: classes come from folders or a CSV"):
        dataset_config({"name": "custom", **words, "csv": None, "images": "folder"}).load()


def test_networks_of_images_are_refused() -> None:
    for name in ("resnet20", "simple_conv", "bagnet18"):
        with pytest.raises(UserError, match="takes images, and the data set has features; choose model=linear,"):
            Networks(architecture(name, {}), (FEATURES,), 2, seed=1).encoder("any")


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_networks_of_recipes_become_mlps(method: str) -> None:
    data = {"name": "custom", "protocol": "holdout", "features": "mine.npy"}
    recipe = resolve(method, data).recipe
    assert (recipe.model, recipe.pretrained) == ("mlp_branches" if method == "denetdm" else "mlp", "none")


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains_heads_on_features(method: str, data_root: Path) -> None:
    whole = dataset_config({"name": "digits", "root": str(data_root), **DATA.get(method, {})}).load()
    assert whole.valid is not None
    data = replace(whole, train=flat(whole.train), valid=flat(whole.valid), test=flat(whole.test))
    size = data.train.image_shape[0]
    for name in ("linear", resolve(method, {"name": "custom", "protocol": "holdout", "features": "a"}).recipe.model):
        model = {"name": name, "pretrained": "none", "hparams": default_model_hparams(name)}
        setup = check({**contract_setup(method, data_root, seed=1).config, "model": model})
        built = build(setup, data)
        phase = built.phases()[0]
        set_modes(built, phase)
        (batch,) = first_batches(built, data, 1)
        assert all(torch.isfinite(scalar) for scalar in phase.update(batch).values())
        assert built.eval().predict(torch.rand(2, size)).shape == (2, 10)


def flat(split: Split) -> Split:
    assert isinstance(split.images, Tensor)
    return replace(split, images=split.images.flatten(1) / 255)


def test_a_run_on_features(command: Command, tmp_path: Path) -> None:
    words = write(tmp_path, "mine", values())
    rate = "method.hparams.learning_rate=0.1"
    outcome = command("with", "custom", *words, "method=erm", "model=linear", "num_steps=100", rate)
    assert outcome.code == 0, outcome.err
    (run,) = outcome.runs
    assert not (run / "samples.png").exists()
    assert json.loads((run / "config.json").read_text())["data"]["image_size"] is None
    other = write(tmp_path, "other", values(20), 20)
    evaluated = command("evaluate", str(run), "with", *other)
    assert evaluated.code == 0, evaluated.err
    inspected = command("inspect", "with", "custom", *words)
    assert "5 features, computed by another network" in inspected.out
    assert command("predict", str(run), "with", "features=other.npy", "rule=last", "batch_size=7", data=False).code == 0
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [row["row"] for row in rows] == [str(row) for row in range(20)]
    assert [row["predicted"] for row in rows] == ["cat", "dog"] * 10
    numpy.save(tmp_path / "wide.npy", numpy.zeros((4, 9)))
    numpy.save(tmp_path / "broken.npy", numpy.array([[0.0] * FEATURES, [numpy.nan] * FEATURES]))
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    for refused, data, message in (
        (("predict", str(run), "with", "images=a.png"), False, "is of clips, arrays or features, which no image file"),
        (("predict", str(run), "with", "images=mine.npy"), False, "images=mine.npy: an array, not images; give feat"),
        (("predict", str(run), "with", "features=wide.npy"), False, "[4, 9], but the run "),
        (
            ("predict", str(run), "with", "features=broken.npy"),
            False,
            "row 1 of broken.npy (counted from 0) has values",
        ),
        (("predict", str(run), "with", "features=none.npy"), False, "no file features=none.npy; write it with"),
        (("audit", "with", "custom", *words), True, "an audit looks at images, and these data are features; leave"),
        (("plots", "with", "kind=hardest"), False, "its data are features, which cannot be shown"),
        (
            ("with", "custom", *words, "data.image_size=64"),
            True,
            "data.image_size=64: must be left out with",
        ),
    ):
        refusal = command(*refused, data=data)
        assert message in refusal.err, refusal
        assert refusal.code != 0
