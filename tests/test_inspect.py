"""`python main.py inspect with <data set>`: what there is, what is missing, and a picture."""

import re
from pathlib import Path

import numpy
import pytest
from PIL import Image

from debiaslab.datasets import DATASETS, Source, dataset_config
from debiaslab.datasets.digits import ColoredDigits
from tests.conftest import Command, Outcome
from tests.datasets.own_images import SIZE, bias, save_digits, target, write_csv


def words_of(outcome: Outcome) -> str:
    """What was printed, with single spaces and no lines."""
    return " ".join(outcome.out.replace("─", " ").split())


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "images").mkdir(parents=True)
    save_digits(tmp_path / "mine" / "images")
    return write_csv(tmp_path / "mine" / "mine.csv", "path,target,bias", lambda n: f"{target(n)},{bias(n)}")


def test_digits(command: Command, tmp_path: Path) -> None:
    outcome = command("inspect", "with", "digits")
    assert (outcome.code, outcome.err, outcome.runs) == (0, "", [])
    words = words_of(outcome)
    for text in (
        "digits needs no files",
        "train 1,200 1,176 24 (2.00 %)",
        "valid 200 20 180 (90.00 %)",
        "test 397 41 356 (89.67 %)",
        "target 0 1 2 3 4 5 6 7 8 9",
        "10 classes, 10 biases",
        "28 x 28 pixels, 3 channels",
        "values in [0, 1]",
        "sample images: runs/inspect-digits.png",
    ):
        assert text in words
    assert re.search(r"fingerprint [0-9a-f]{16}", words)
    with Image.open(tmp_path / "runs" / "inspect-digits.png") as picture:
        assert picture.format == "PNG"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["inspect-digits.png"]


def test_own_images_with_names(command: Command, csv: Path) -> None:
    words = ("custom", f"data.csv={csv}", f"data.image_size={SIZE}", "data.augment=crop", "data.cache=cache")
    outcome = command("inspect", "with", *words)
    assert (outcome.code, outcome.err) == (0, "")
    text = words_of(outcome)
    assert re.search(r"target blue green red eight 2 0 26\* five 26\* 2 0 three 0 26\* 2", text)
    assert "CropAndFlip (padding 4, flip False)" in text
    assert "less (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225)" in text
    assert "read into memory before training (memory_gb=4)" in text
    assert "cache cache: 0.1 MiB of custom in 1 file, all variants" in text
    small = command("inspect", "with", *words, "memory_gb=0.00001")
    assert "read on demand (memory_gb=1e-05)" in words_of(small)


def test_names_with_signs_of_other_languages(command: Command, csv: Path) -> None:
    names = {"eight": "[bold]8[/x]", "five": "$5_$", "three": ":dog: 三"}
    write_csv(csv, "path,target", lambda n: names[target(n)])
    outcome = command("inspect", "with", "custom", f"data.csv={csv}", f"data.image_size={SIZE}")
    assert (outcome.code, outcome.err) == (0, "")
    for name in names.values():
        assert f"{name} 28" in words_of(outcome)


def test_without_bias_labels(command: Command, csv: Path) -> None:
    write_csv(csv, "path,target", lambda n: str(n % 3))
    outcome = command("inspect", "with", "custom", f"data.csv={csv}", f"data.image_size={SIZE}")
    assert (outcome.code, outcome.err) == (0, "")
    text = words_of(outcome)
    assert "train 84 - -" in text
    assert "3 classes, no bias labels" in text
    assert "target images 0 28 1 28 2 28" in text


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_nothing_downloaded(command: Command, tmp_path: Path, name: str) -> None:
    """Whatever a data set needs is listed; nothing can be downloaded below a file. A traceback would fail."""
    (tmp_path / "file").touch()
    outcome = command("inspect", "with", f"data={name}", "data.root=file/root", f"data.cache={tmp_path}/c", data=False)
    assert outcome.runs == []
    for kind in ("licence", "size"):
        assert re.search(rf"^{kind} {{2,}}\S", outcome.out, re.M)
    if not dataset_config({"name": name}).sources():
        assert outcome.code == 0
        return
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert re.search(r"^(missing|not there) ", outcome.out, re.M)


def test_what_is_missing(command: Command, tmp_path: Path) -> None:
    (tmp_path / "faces" / "celeba" / "img_align_celeba").mkdir(parents=True)
    (tmp_path / "faces" / "celeba" / "list_eval_partition.txt").write_text("000001.jpg 0")
    outcome = command("inspect", "with", "celeba", "data.root=faces", data=False)
    assert outcome.code == 2
    expected = "2 files or folders are missing for celeba; download what is listed as missing, and try again"
    assert outcome.err == f"error: {expected}\n"
    text = words_of(outcome)
    images = (
        "missing faces/celeba/img_align_celeba 202,599 aligned and cropped faces, .jpg img_align_celeba.zip of http:"
    )
    assert images in text
    assert "missing faces/celeba/list_attr_celeba.txt their 40 attributes Anno/list_attr_celeba.txt" in text
    assert "there faces/celeba/list_eval_partition.txt their splits" in text


def test_what_a_data_set_can_do_without(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(Path("somewhere"), "further images", "downloaded when they are needed", required=False)
    monkeypatch.setattr(ColoredDigits, "sources", lambda self: [source])
    outcome = command("inspect", "with", "digits")
    assert outcome.code == 0
    assert "not there somewhere further images downloaded when they are needed" in words_of(outcome)


def test_a_data_set_that_no_method_knows(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "new", ColoredDigits)
    outcome = command("inspect", "with", "data=new")
    assert (outcome.code, outcome.err) == (0, "")
    outcome = command("print_config", "with", "data=new", "method=erm")
    assert (outcome.code, outcome.err) == (0, "")
    assert "none published" in outcome.out


def test_mistakes_are_one_line(command: Command, csv: Path) -> None:
    for words, message in (
        (["data=celbea"], "unknown data set 'celbea'; did you mean 'celeba'?"),
        (["digits", "data.skew=2"], "data.skew=2.0: must be between 0 and 1"),
        (["digits", "memory=2"], "unknown setting 'memory'; did you mean 'memory_gb'?"),
        (["digits", "log_dir=/proc/nowhere"], "cannot write into /proc/nowhere"),
        (["custom", f"data.csv={csv}", "data.cache=/proc/nowhere"], "cannot write into /proc/nowhere"),
    ):
        outcome = command("inspect", "with", *words)
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.err.count("\n") == 1


def test_the_picture_differs_with_the_data(command: Command, tmp_path: Path, csv: Path) -> None:
    def pixels(*words: str) -> numpy.ndarray:
        assert command("inspect", "with", *words).code == 0
        (path,) = (tmp_path / "runs").glob("*.png")
        with Image.open(path) as picture:
            found = numpy.asarray(picture.convert("RGB"))
        path.unlink()
        return found

    assert not numpy.array_equal(pixels("digits"), pixels("digits", "data.seed=1"))
