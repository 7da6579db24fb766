"""Own images in other shapes: folders of classes, columns of other names, several biases, another aspect ratio."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from debiaslab.core.errors import UserError
from debiaslab.datasets.preprocessing import Preprocessing, ResizedCenterCrop
from tests.conftest import Command
from tests.datasets.own_images import NUM_IMAGES, SIZE, bias, pictures, split, target
from tests.datasets.test_custom import load

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, images: Path) -> Path:
    """FOLDER/CLASS/<number>.png, some of them in a further folder, beside files that do not count."""
    for number in range(NUM_IMAGES):
        place = tmp_path / "classes" / "mine" / target(number) / ("more" if number % 5 == 0 else "")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / f"{number}.png", place)
    (tmp_path / "classes" / "mine" / "notes.txt").write_text("")
    (tmp_path / "classes" / "mine" / ".hidden").mkdir()
    return tmp_path / "classes" / "mine"


def test_folders_are_the_classes(folder: Path, write: Write) -> None:
    data = load(None, images=str(folder), cache=str(folder.parent / "cache"))
    assert data.class_names == ("eight", "five", "three")
    assert data.notes == (f"{folder}: 1 files without an image suffix are ignored",)
    assert [len(part) for part in data.splits().values()] == [84, 12, 24]
    assert not data.train.has_bias
    found = {
        part.read(torch.tensor([row])).numpy().tobytes(): data.class_labels()[int(part.target[row])]
        for part in data.splits().values()
        for row in range(len(part))
    }
    expected = pictures(write("path,target", target))
    assert found == {expected[number]: target(number) for number in range(NUM_IMAGES)}


@pytest.mark.parametrize("valid", ["valid", "val"])
def test_folders_of_splits(tmp_path: Path, images: Path, valid: str, command: Command) -> None:
    for number in range(NUM_IMAGES):
        name = valid if split(number) == "valid" else split(number)
        place = tmp_path / "mine" / name / target(number)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / f"{number}.png", place)
    data = load(None, images=str(tmp_path / "mine"), cache=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in data.splits().items()} == {"train": 60, "valid": 30, "test": 30}
    words = (f"data.images={tmp_path / 'mine'}", f"data.image_size={SIZE}", "data.cache=cache", "model=mlp")
    outcome = command("with", "custom", *words, "method=erm", "num_steps=3", "data.protocol=published")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.record("info.json")["data"]["classes"] == ["eight", "five", "three"]


def test_mistakes_in_folders(folder: Path, tmp_path: Path) -> None:
    def refuse(message: str, **settings: str) -> None:
        with pytest.raises(UserError, match=message) as error:
            load(None, **{"images": str(folder), "cache": str(tmp_path / "cache"), **settings})
        assert "\n" not in str(error.value)

    refuse(r"data\.images=.*nowhere: there is no such folder", images=str(tmp_path / "nowhere"))
    refuse("data.images=.* and data.csv: classes come from folders or a CSV; drop one", csv="x.csv")
    refuse("data.images=.* and data.columns: ", columns="target=x")
    refuse("data.protocol=published takes the splits as they are", protocol="published")
    (folder / "five" / "1.png").write_bytes(b"no image")
    refuse("mine/five/1.png: .*1.png is not a complete image")
    shutil.copy(folder / "three" / "2.png", folder)
    refuse(r"mine/2\.png is not in a class folder; move it into one below")
    for name in ("train", "extra"):
        (tmp_path / "splits" / name / "a").mkdir(parents=True)
        shutil.copy(folder / "2.png", tmp_path / "splits" / name / "a")
    refuse("extra is next to train, but is not valid or test", images=str(tmp_path / "splits"))
    (tmp_path / "empty").mkdir()
    refuse("no images in class folders; image files end in .png", images=str(tmp_path / "empty"))


def test_columns_of_other_names(write: Write) -> None:
    plain = load(write("path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{split(n)}"))
    csv = write("File Name,label,target,colour,date,spilt", lambda n: f"{target(n)},x,{bias(n)},2026,{split(n)}")
    data = load(csv, columns="path=File Name, target=label,bias=colour,split=spilt")
    assert data.notes == (f"{csv}: ignored columns: target, date",)
    assert data.fingerprint == plain.fingerprint
    data = load(csv, columns="path=File Name,target=label")
    assert data.notes == (f"{csv}: ignored columns: target, colour, date, spilt (did you mean split?)",)


def test_several_bias_columns(write: Write) -> None:
    def size(number: int) -> str:
        return ("small", "large")[number // 3 % 2]

    csv = write("path,target,colour,size,split", lambda n: f"{target(n)},{bias(n)},{size(n)},{split(n)}")
    data = load(csv, columns="bias=colour+size")
    assert data.attribute_sizes == (3, 2)
    assert data.bias_labels() == [f"{a}, {b}" for a in ("blue", "green", "red") for b in ("large", "small")]
    numbers = [number for number in range(NUM_IMAGES) if split(number) == "test"]
    names = [data.bias_labels()[label] for label in data.test.bias]
    assert names == [f"{bias(number)}, {size(number)}" for number in numbers]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("target", "data.columns=target: write OURS=THEIRS,OURS=THEIRS, as in target=label,bias=gender+age"),
        ("target=", "write OURS=THEIRS"),
        ("traget=label", "unknown column 'data.columns=traget'; did you mean 'target'?"),
        ("target=label,target=bias", "target comes twice"),
        ("target=labl", "data.columns=target=labl: mine.csv has no such column; did you mean 'label'? columns: "),
        ("target=label,bias=colour+aligned", "a column aligned needs a single bias column"),
    ],
)
def test_mistakes_in_columns(write: Write, columns: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    csv = write("path,label,colour,aligned,spare", lambda n: f"{target(n)},{bias(n)},{n % 2},1")
    monkeypatch.chdir(csv.parent)
    if "aligned" in columns:
        write("path,label,colour,size,aligned", lambda n: f"{target(n)},{bias(n)},{n % 2},1")
        columns = columns.replace("+aligned", "+size")
    with pytest.raises(UserError, match=re.escape(message)):
        load(Path("mine.csv"), columns=columns)


def test_the_aspect_ratio_is_kept(write: Write) -> None:
    csv = write("path,target,split", lambda n: f"{target(n)},{split(n)}")
    path = (csv.parent / "images").resolve() / "0.png"
    content = path.read_bytes()
    noise = numpy.random.default_rng(0).integers(0, 256, (20, 50, 3), dtype=numpy.uint8)
    try:
        Image.fromarray(noise).save(path)
        data, stretched = load(csv, fit="crop"), load(csv)
    finally:
        path.write_bytes(content)
    expected = Image.fromarray(noise).resize((30, SIZE), Image.Resampling.BILINEAR).crop((9, 0, 9 + SIZE, SIZE))
    found = data.train.read(torch.tensor([0]))[0].permute(1, 2, 0).numpy()
    assert numpy.array_equal(found, numpy.asarray(expected))
    assert data.fingerprint != stretched.fingerprint
    assert data.preprocessing() == Preprocessing(ResizedCenterCrop(SIZE, SIZE), data.normalize)
