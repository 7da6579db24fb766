"""Mistakes in the CSV of a user's own images: each is one line that names the file, the line and the fix."""

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from debiaslab.core.errors import UserError
from debiaslab.datasets import dataset_config
from tests.datasets.own_images import SIZE, bias, split, target

Write = Callable[..., Path]


def load(csv: Path, **settings: Any) -> None:
    values = {"image_size": SIZE, "cache": str(csv.parent / "cache"), **settings}
    dataset_config({"name": "custom", "csv": str(csv), **values}).load()


def edit(line: int, old: str, new: str) -> Callable[[str], str]:
    """Replace `old` in a line, counted from 1."""

    def edited(text: str) -> str:
        lines = text.split("\n")
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new)
        return "\n".join(lines)

    return edited


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", r"mine\.csv is empty; its first line must be path,target"),
        (lambda text: text.split("\n")[0], r"mine\.csv has no image; write a line for each below the first one"),
        (edit(1, "path", "file"), r"line 1: no column 'path'; columns: file, target, .*; name it with data\.columns"),
        (lambda text: text.split("\n", 1)[1], r"line 1: no name of a column; the first line names them, such as path,"),
        (edit(1, "bias", "target"), r"line 1: two columns 'target'; remove one"),
        (lambda text: text.replace(",", ";"), r"line 1: no comma in 'path;target;bias;split'; separate"),
        (edit(7, ",train", ""), r"line 7: 3 values, but the first line names 4 columns \(path,target,bias,split\)"),
        (edit(7, "train", 'tr"ain'), None),
        (edit(7, "images/5.png", '"images/5.png" '), r"line 7: not a CSV \(.*\); separate values by commas"),
        (edit(7, "images/5.png", "images/missing.png"), r"line 7: there is no image file .*/images/missing\.png; corr"),
        (edit(7, "images/5.png", "images"), r"line 7: there is no image file .*/images; correct the path"),
        (edit(7, "images/5.png", "./images/../images/2.png"), r"line 7: .*2\.png is in line 4 already; remove one"),
        (edit(7, "images/5.png", ""), r"line 7: no path"),
        (edit(7, "images/5.png", 300 * "x"), r"line 7: there is no image file .*xxx; correct the path"),
        (edit(7, "images/5.png", "a\0b"), r"line 7: there is no image file .*; correct the path"),
        (edit(7, "three", ""), r"line 7: no target; every image needs one"),
        (edit(7, "three", "7"), r"line 2: target 'eight', but line 7 has 7; write integers 0, 1, 2, \.\.\. everywhere"),
        (edit(7, "train", "val"), r"line 7: unknown split 'val'; did you mean 'valid'\? one of train, valid, test"),
        (edit(7, "train", ""), r"line 7: unknown split ''; one of train, valid, test"),
        (edit(7, "green", ""), r"line 7: no bias, but other images of the split train have one; give it"),
        (lambda text: text.replace("test", "valid"), r"mine\.csv: no image for the split test; give some lines"),
        (lambda text: text.replace("train", "valid"), r"mine\.csv: no image for the split train; give some lines"),
        (lambda text: text.replace("three", "five").replace("eight", "five"), r"every target is five; give"),
        (lambda text: text.replace("red", "blue").replace("green", "blue"), r"every bias is blue; leave"),
        (lambda text: text.replace("eight,red,train", "five,red,train").replace("eight,blue,train", "five,red,train"),
         r"mine\.csv: no training image of target eight; give some of its lines the split train"),
    ],
)  # fmt: skip
def test_mistakes_in_the_csv(write: Write, change: Callable[[str], str], message: str | None) -> None:
    csv = write("path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{split(n)}")
    csv.write_text(change(csv.read_text()))
    if message is None:
        message = r"line 7: unknown split 'tr\"ain'; did you mean 'train'\? one of train, valid, test"
    with pytest.raises(UserError, match=message) as error:
        load(csv)
    assert str(error.value).startswith(str(csv))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "4",
            r"target goes up to 4, but no image has target 3; number the classes from 0 without gaps, or write names",
        ),
        ("1.0", r"line 7: target '1\.0' is no class number; write integers 0, 1, 2, \.\.\. everywhere, or names"),
        ("-1", r"line 7: target '-1' is no class number"),
        ("1" + 23 * "0", r"line 7: target '10+' is no class number"),
        (5000 * "9", r"line 7: target '9+' is no class number"),
        ("01", r"line 7: target '01' is no class number"),
        ("nan", r"line 7: target 'nan' is no class number"),
        ("cat", r"line 7: target 'cat', but line 2 has 0; write integers"),
    ],
)
def test_mistakes_in_integer_labels(write: Write, value: str, message: str) -> None:
    csv = write("path,target", lambda n: value if n == 5 else str(n % 3))
    with pytest.raises(UserError, match=message):
        load(csv)


def test_mistakes_in_aligned(write: Write) -> None:
    csv = write("path,target,bias,aligned", lambda n: f"{target(n)},{bias(n)},{'yes' if n == 5 else 'True'}")
    with pytest.raises(
        UserError, match=r"line 7: aligned is 'yes'; write 1 for a usual pair of target and bias, 0 for"
    ):
        load(csv)
    csv = write("path,target,bias,aligned", lambda n: f"{target(n)},{bias(n)},{int(n != 8)}")
    with pytest.raises(UserError, match=r"line 10: aligned differs from line 7, which has the same target and bias"):
        load(csv)
    csv = write("path,target,aligned", lambda n: f"{target(n)},1")
    with pytest.raises(UserError, match=r"aligned tells the usual pairs of target and bias; add a column bias"):
        load(csv)


def test_files_that_are_none(write: Write, tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "missing.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=rf"cannot read data\.csv={path}: {reason}.*; name your CSV with data\.csv"):
            load(path)
    csv = write("path,target", target)
    csv.write_bytes(csv.read_bytes().replace(b"images/4.png,five", b"images/4.png,f\xfcnf"))
    with pytest.raises(UserError, match=r"line 6: not UTF-8; save the CSV as UTF-8"):
        load(csv)
    with pytest.raises(UserError, match=r"custom needs your images: a CSV of them, data\.csv=PATH"):
        dataset_config({"name": "custom"}).load()


def test_a_broken_image_is_named_with_its_line(write: Write, images: Path) -> None:
    csv = write("path,target", target)
    half = (images / "5.png").read_bytes()
    (csv.parent / "half.png").write_bytes(half[: len(half) // 2])
    csv.write_text(csv.read_text().replace("images/5.png", "half.png"))
    with pytest.raises(
        UserError, match=r"mine\.csv, line 7: .*/half\.png is not a complete image \(.*\); replace or rem"
    ):
        load(csv)


def test_too_few_images_to_split(write: Write) -> None:
    with pytest.raises(UserError, match=r"no image for the split test; add a column split"):
        load(write("path,target", target, count=6))
    with pytest.raises(UserError, match=r"data\.protocol=published takes the splits as they are, .* no column split"):
        load(write("path,target", target), protocol="published")
    with pytest.raises(UserError, match=r"too few training images to keep some for validation; add a column split"):
        load(write("path,target,split", lambda n: f"{target(n)},{'train' if n < 6 else 'test'}"))


def test_names_match_however_their_letters_are_put_together(write: Write, images: Path) -> None:
    csv = write("path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{split(n)}")
    csv.write_text(csv.read_text().replace("images/", "fête/tête"))
    assert unicodedata.is_normalized("NFC", csv.read_text())
    folder = csv.parent / unicodedata.normalize("NFD", "fête")
    folder.mkdir()
    for number in range(120):
        shutil.copy(images / f"{number}.png", folder / unicodedata.normalize("NFD", f"tête{number}.png"))
    load(csv)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.csv")
    with pytest.raises(UserError, match=r"mine\.csv is a pipe, a socket or a device; give a file"):
        load(tmp_path / "mine.csv")
