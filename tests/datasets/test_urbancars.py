"""UrbanCars' layout, with scikit-learn's digits as cars, and the gaps that its authors report."""

import json
import shutil
from itertools import product
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from debiaslab.analysis.records import parse_history
from debiaslab.analysis.result import accuracy_tables, result_of
from debiaslab.analysis.schema import require_run
from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.evaluation.history import Evaluation, empty_history
from debiaslab.evaluation.selection import parse_rule
from tests.datasets.image_folders import write_images
from tests.datasets.loading import loaded

KINDS = ("urban", "country")
PARTS = {"bg-0.95_co_occur_obj-0.95/train": 6, "bg-0.5_co_occur_obj-0.5/val": 2, "bg-0.5_co_occur_obj-0.5/test": 10}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each of the eight groups as many images as `PARTS` says."""
    root = tmp_path_factory.mktemp("cars")
    for part, count in PARTS.items():
        for car, background, thing in product(KINDS, repeat=3):
            folder = root / "urbancars" / part / f"obj-{car}_bg-{background}_co_occur_obj-{thing}"
            write_images([folder / f"{number}.jpg" for number in range(count)])
    return root


def load(root: Path, **settings: Any) -> BiasedDataset:
    return loaded({"name": "urbancars", "root": str(root), "image_size": 14, **settings})


def test_two_attributes(root: Path) -> None:
    data = load(root)
    assert data.valid is not None
    assert data.valid.target.tolist() == [0] * 8 + [1] * 8
    assert data.valid.bias.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] * 2
    assert (len(data.train), len(data.test)) == (48, 80)
    assert data.bias_labels()[1] == "urban background, country object"
    assert data.aligned_groups().tolist() == [[True, False, False, False], [False, False, False, True]]
    assert data.augment == CropAndFlip(0)
    held_out = load(root, protocol="iid")
    assert held_out.valid is not None
    assert (len(held_out.train), len(held_out.valid)) == (44, 4)


def test_the_gaps_of_the_paper(root: Path) -> None:
    history = empty_history(load(root))
    # per class: background and object as usual, object not, background not, neither
    correct = {"test": {"classifier": [[10, 8, 7, 2], [3, 6, 9, 10]]}, "valid": {"classifier": [[2] * 4] * 2}}
    evaluation = Evaluation("train", 1, 1, 1, {}, correct)
    metrics = history.metrics(evaluation)["test"]["classifier"]
    usual = 0.95**2 * 1.0 + 0.95 * 0.05 * (0.65 + 0.85) + 0.05**2 * 0.25
    assert metrics["id_accuracy"] == pytest.approx(usual)
    assert metrics["bg_gap"] == pytest.approx((0.7 + 0.6) / 2 - usual)
    assert metrics["co_obj_gap"] == pytest.approx((0.8 + 0.9) / 2 - usual)
    assert metrics["bg_co_obj_gap"] == pytest.approx((0.2 + 0.3) / 2 - usual)
    assert metrics["worst_intersection"] == 0.2
    assert metrics["worst_group"] == pytest.approx(0.45)
    history.evaluations.append(evaluation)
    (table,) = accuracy_tables(result_of(history, "train", parse_rule("last", True, "rule")), {})
    assert [str(column.header) for column in table.columns][-4:] == [
        "in distribution",
        "BG gap",
        "CoObj gap",
        "BG+CoObj gap",
    ]
    assert float(str(next(iter(table.columns[-1].cells)))) == pytest.approx(100 * (0.25 - usual), abs=0.005)


def test_gaps_are_recorded_and_other_data_have_none(root: Path) -> None:
    history = empty_history(load(root))
    correct = {"test": {"classifier": [[10, 8, 7, 2], [3, 6, 9, 10]]}, "valid": {"classifier": [[2] * 4] * 2}}
    evaluation = Evaluation("train", 1, 1, 1, {}, correct)
    facts = {name: value for name, value in vars(history).items() if name != "evaluations"}
    lines = [facts, evaluation.as_dict()]
    read = parse_history("".join(json.dumps(line) + "\n" for line in lines).encode(), "run")
    gap = history.metrics(evaluation)["test"]["classifier"]["bg_gap"]
    assert read.metrics(read.evaluations[0])["test"]["classifier"]["bg_gap"] == gap
    lines[0] = facts | {"usual_shares": None}
    without = parse_history("".join(json.dumps(line) + "\n" for line in lines).encode(), "run")
    assert isnan(without.metrics(without.evaluations[0])["test"]["classifier"]["bg_gap"])
    for wrong in ([0.95], [0.95, 1.5]):
        lines[0] = facts | {"usual_shares": wrong}
        with pytest.raises(UserError, match="damaged: the shares of its attributes are impossible"):
            parse_history("".join(json.dumps(line) + "\n" for line in lines).encode(), "run")


@pytest.mark.parametrize(
    ("metric", "value", "is_possible"),
    [("test/bg_gap", -0.3, True), ("test/bg_gap", -1.3, False), ("test/unbiased", -0.3, False)],
)
def test_differences_may_be_negative(metric: str, value: float, is_possible: bool) -> None:
    result = {"last": {"phase": "train", "epoch": 1, "step": 1, metric: value}}
    entry = {"command": "train", "status": "COMPLETED", "result": result}
    config = {"data": {"name": "urbancars", "protocol": "holdout"}, "method": {"name": "erm", "hparams": {}}, "seed": 1}
    if is_possible:
        require_run(entry, config, {}, "run")
        return
    with pytest.raises(UserError, match="the record run is damaged: result"):
        require_run(entry, config, {}, "run")


def test_mistakes_are_one_line(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"urbancars needs .*/train \(and 2 more\), which is missing"):
        load(tmp_path)
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    groups = tmp_path / "urbancars" / "bg-0.95_co_occur_obj-0.95" / "train"
    group = groups / "obj-urban_bg-urban_co_occur_obj-urban"
    group.rename(groups / "obj-urban_bg-rural_co_occur_obj-urban")
    with pytest.raises(UserError, match=r"unknown group of UrbanCars '.*bg-rural.*'; did you mean 'obj-urban_bg-urban"):
        load(tmp_path)
    shutil.rmtree(groups / "obj-urban_bg-rural_co_occur_obj-urban")
    with pytest.raises(UserError, match=r"cannot read .*obj-urban_bg-urban_co_occur_obj-urban: No such file"):
        load(tmp_path)
