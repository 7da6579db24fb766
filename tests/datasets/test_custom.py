"""A user's own images: scikit-learn's digits as files, with a CSV."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from debiaslab import main
from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, selection_images_from_settings
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.methods import METHODS, Recipe
from tests.conftest import Command, Outcome
from tests.datasets.loading import loaded
from tests.datasets.own_images import NUM_IMAGES, SIZE, bias, pictures, split, target

Write = Callable[..., Path]


def load(csv: Path | None, /, **settings: Any) -> BiasedDataset:
    given = {} if csv is None else {"csv": str(csv), "cache": str(csv.parent / "cache")}
    return loaded({"name": "custom", "image_size": SIZE, **given, **settings})


def test_images_and_labels_of_each_split(write: Write) -> None:
    csv = write("path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{split(n)}")
    data, expected = load(csv), pictures(csv)
    assert (data.num_classes, data.num_biases) == (3, 3)
    assert data.class_names == ("eight", "five", "three")
    assert data.bias_names == ("blue", "green", "red")
    for name, part in data.splits().items():
        numbers = [number for number in range(120) if split(number) == name]
        assert [data.class_labels()[label] for label in part.target] == [target(number) for number in numbers]
        assert [data.bias_labels()[label] for label in part.bias] == [bias(number) for number in numbers]
        for position, number in enumerate(numbers):
            assert part.read(torch.tensor([position])).numpy().tobytes() == expected[number]


def test_usual_pairs_come_from_training_or_from_the_column(write: Write) -> None:
    data = load(write("path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{split(n)}"))
    usual = {(data.class_labels()[t], data.bias_labels()[b]) for t, b in data.aligned_groups().nonzero().tolist()}
    assert usual == {("eight", "red"), ("five", "blue"), ("three", "green")}

    def told(number: int) -> str:
        return f"{target(number)},{bias(number)},{int((target(number), bias(number)) == ('five', 'green'))}"

    other = load(write("path,target,bias,aligned", told))
    assert other.aligned_groups().nonzero().tolist() == [[1, 1]]


def test_inferred_bias_labels_are_taken_if_asked_for(write: Write) -> None:
    csv = write("path,target,bias,split,bias_inferred", lambda n: f"{target(n)},{bias(n)},{split(n)},{target(n + 1)}")
    known, inferred = load(csv), load(csv, inferred_bias=True)
    assert known.bias_names == ("blue", "green", "red")
    assert (known.notes, inferred.bias_names) == ((), ("eight", "five", "three"))
    assert inferred.train.bias.tolist() == [("eight", "five", "three").index(target(n + 1)) for n in training()]
    assert inferred.fingerprint != known.fingerprint
    assert inferred.notes == ("bias labels: inferred by an audit (column bias_inferred), not known",)
    with pytest.raises(UserError, match="has no column bias_inferred"):
        load(write("path,target", target), inferred_bias=True)


def training() -> list[int]:
    return [number for number in range(NUM_IMAGES) if split(number) == "train"]


def test_integer_labels_stay_as_they_are(write: Write) -> None:
    csv = write("path,target,bias", lambda n: f"{n % 3},{n // 3 % 2}")
    data = load(csv)
    assert (data.num_classes, data.num_biases, data.class_names, data.bias_names) == (3, 2, None, None)
    assert data.class_labels() == ["0", "1", "2"]
    expected = pictures(csv)
    for index, label in enumerate(data.test.target.tolist()):
        assert expected.index(data.test.read(torch.tensor([index])).numpy().tobytes()) % 3 == label


def test_without_splits_every_group_is_split_alike(write: Write) -> None:
    csv = write("path,target,bias", lambda n: f"{target(n)},{bias(n)}")
    data = load(csv)
    assert data.valid is not None
    for label in range(3):  # of 40 images of a class, 4 conflict
        usual = int(data.aligned_groups()[label].nonzero())
        biases = [part.bias[part.target == label] for part in (data.train, data.valid, data.test)]
        assert [int((labels == usual).sum()) for labels in biases] == [26, 3, 7]
        assert [int((labels != usual).sum()) for labels in biases] == [2, 1, 1]
    again, other = load(csv), load(csv, seed=1)
    assert again.test.all_images().equal(data.test.all_images())
    assert not other.test.all_images().equal(data.test.all_images())
    assert other.fingerprint != data.fingerprint


def test_protocols_with_a_split_column(write: Write) -> None:
    csv = write("path,target,split", lambda n: f"{target(n)},{'test' if n < 30 else 'train'}")
    published, holdout = load(csv, protocol="published"), load(csv)
    assert published.valid is None
    assert holdout.valid is not None
    assert (len(published.train), len(holdout.train), len(holdout.valid)) == (90, 81, 9)
    assert published.test.all_images().equal(holdout.test.all_images())


def test_iid_splits_training_images_whatever_the_csv_has(write: Write) -> None:
    names = ["test"] * 30 + ["valid"] * 10 + ["train"] * 80
    csv = write("path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{names[n]}")
    data = load(csv, protocol="iid")
    assert data.valid is not None
    assert (len(data.train), len(data.valid), len(data.test)) == (71, 9, 30)
    assert sorted(torch.bincount(data.valid.target).tolist()) == [3, 3, 3]


def test_settings(write: Write) -> None:
    csv = write("path,target", target)
    data = load(csv)
    assert data.augment == CropAndFlip(4)
    assert data.normalize == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    plain = load(csv, augment="none", normalize="none")
    assert (plain.augment, plain.normalize) == (None, None)
    assert load(csv, augment="crop").augment == CropAndFlip(4, flip=False)
    assert load(csv, image_size=5).test.image_shape == (3, 5, 5)


def test_the_folder_may_move(write: Write, tmp_path: Path) -> None:
    csv = write("path,target,bias", lambda n: f"{target(n)},{bias(n)}")
    first = load(csv)
    csv.parent.rename(tmp_path / "moved")
    (built,) = (tmp_path / "moved" / "cache").glob("*.safetensors")
    assert load(tmp_path / "moved" / csv.name).fingerprint == first.fingerprint
    assert list((tmp_path / "moved" / "cache").glob("*.safetensors")) == [built]


def test_other_labels_are_other_data(write: Write) -> None:
    first = load(write("path,target", target))
    renamed = load(write("path,target", lambda n: target(n).replace("eight", "ate")))
    assert renamed.train.target.equal(first.train.target)
    assert renamed.fingerprint != first.fingerprint


def test_byte_order_mark_spaces_and_quotes(write: Write) -> None:
    csv = write("path , target,bias", lambda n: f' {target(n)} ,"{bias(n)}, as usual"')
    csv.write_bytes(b"\xef\xbb\xbf" + csv.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    data = load(csv)
    assert data.class_names == ("eight", "five", "three")
    assert data.bias_names == ("blue, as usual", "green, as usual", "red, as usual")


@pytest.mark.parametrize(
    ("header", "row", "known"),
    [
        ("path,target,bias", lambda n: f"{target(n)},{bias(n)}", True),
        ("path,target", target, False),
        ("path,target,bias", lambda n: f"{target(n)},", False),
        ("path,target,bias,split", lambda n: f"{target(n)},{'' if split(n) == 'train' else bias(n)},{split(n)}", True),
        ("path,target,bias,split", lambda n: f"{target(n)},{bias(n) if split(n) == 'test' else ''},{split(n)}", False),
    ],
    ids=["yes", "no column", "an empty column", "evaluation only", "test only"],
)
def test_whether_bias_labels_can_choose_weights(
    write: Write, header: str, row: Callable[[int], str], known: bool
) -> None:
    csv = write(header, row)
    assert selection_images_from_settings({"name": "custom", "csv": str(csv)}).knows_bias is None
    assert load(csv).selection_images("holdout").knows_bias is known
    assert load(csv).tells_conflicting() is (known and "split" not in header)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.image_size=0", "data.image_size=0: must be 1 to 4096"),
        ("data.augment=flip", "data.augment='flip': must be one of crop_flip, crop, none"),
        ("data.normalize=cifar", "data.normalize='cifar': must be one of imagenet, none"),
        ("data.skew=0.1", "data.skew is not a setting of custom"),
    ],
)
def test_settings_out_of_range(command: Command, setting: str, message: str) -> None:
    outcome = command("inspect", "with", "custom", setting)
    assert outcome.code == 2
    assert message in outcome.err


# ---- whole runs


@pytest.fixture(autouse=True)
def small_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks for these small images."""
    for method in ("erm", "end", "denetdm"):
        digits = next(iter(METHODS[method].RECIPES["digits"].values()))
        recipe = Recipe(source="test", model=digits.model, hparams={"batch_size": 64, "epochs": 2})
        monkeypatch.setitem(METHODS[method].RECIPES, "custom", {"small": recipe})


def run(command: Command, csv: Path, *words: str) -> Outcome:
    return command("with", "custom", f"data.csv={csv}", f"data.image_size={SIZE}", *words)


def test_a_run(command: Command, write: Write) -> None:
    csv = write("path,target,bias", lambda n: f"{target(n)},{bias(n)}")
    outcome = run(command, csv, "method=erm")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"erm on custom, csv {csv}, holdout" in " ".join(outcome.out.split())
    assert set(outcome.record("run.json")["result"]) == {"last", "best_valid_unbiased"}
    facts = outcome.record("info.json")["data"]
    assert (facts["classes"], facts["biases"]) == (["eight", "five", "three"], ["blue", "green", "red"])


@pytest.mark.parametrize("method", ["erm", "denetdm"])
def test_a_run_without_bias_labels(command: Command, write: Write, method: str) -> None:
    csv = write("path,target", target)
    outcome = run(command, csv, f"method={method}")
    assert (outcome.code, outcome.err) == (0, "")
    result = outcome.record("run.json")["result"]["best_valid_accuracy"]
    assert result["test/accuracy"] is not None
    assert result["test/unbiased"] is None
    reason = "unbiased, aligned, conflicting, worst group: not known, as the test images have no bias labels"
    assert reason in " ".join(outcome.out.split())
    assert {"curves.png", "samples.png"} <= {file.name for file in outcome.runs[0].iterdir()}
    again = command("evaluate", "with", "custom", f"data.csv={csv}", f"data.image_size={SIZE}", f"method={method}",
                    f"checkpoint={outcome.runs[0]}")  # fmt: skip
    assert (again.code, again.record("run.json")["result"]["last"]) == (0, outcome.record("run.json")["result"]["last"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "method=erm selection=best_valid_unbiased",
            "the valid images have no bias labels; use best_valid_accuracy, or last",
        ),
        (
            "method=erm selection=oracle_test_aligned",
            "the test images have no bias labels; use oracle_test_accuracy, or last",
        ),
        ("method=end", "method end needs the bias labels of the training images, and custom has none"),
    ],
)
def test_what_needs_bias_labels_is_refused(command: Command, write: Write, words: str, message: str) -> None:
    outcome = run(command, write("path,target", target), *words.split())
    assert outcome.code == 2
    assert outcome.err.endswith(f"{message}\n")
    assert outcome.err.count("\n") == 1
    assert outcome.runs == []


def test_the_example_of_the_manual(command: Command, tmp_path: Path) -> None:
    manual = (Path(main.__file__).parents[1] / "docs" / "datasets" / "custom.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", manual, re.DOTALL)
    exec(example, {})
    outcome = command("with", "custom", "data.csv=example/example.csv", "data.image_size=8", "method=erm")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.record("info.json")["data"]["sizes"] == {"train": 400, "valid": 80, "test": 120}


def test_weights_of_other_classes_are_refused(command: Command, write: Write) -> None:
    (folder,) = run(command, write("path,target", target), "method=erm").runs
    other = write("path,target", lambda n: target(n).replace("eight", "ate"), name="other.csv")
    outcome = command("evaluate", "with", "custom", f"data.csv={other}", f"data.image_size={SIZE}", "method=erm",
                      f"checkpoint={folder}")  # fmt: skip
    assert outcome.code == 2
    assert "is of a run with data classes=['eight', 'five', 'three'], not ['ate', 'five', 'three']" in outcome.err
