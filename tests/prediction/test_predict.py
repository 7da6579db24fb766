"""`main.py predict`: from a record alone to the classes of images."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import debiaslab
from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.datasets.preprocessing import Preprocessing, ResizedCenterCrop, Stretched
from debiaslab.prediction.predicting import predict_files
from debiaslab.training.checkpoint import LAST, SELECTED, read_checkpoint, write_checkpoint
from tests.conftest import Command, make_once, only_run
from tests.datasets.own_images import CLASSES, NUM_IMAGES, SIZE, split, target
from tests.prediction.own_run import train_on_own_images


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def run(command: Command, tmp_path: Path, first_copy: Path) -> Path:
    """The folder of a run on own images, whose images have been moved to `images`, and whose data are gone."""

    def make() -> None:
        train_on_own_images(command, tmp_path)
        shutil.move(tmp_path / "mine" / "images", tmp_path / "images")
        shutil.rmtree(tmp_path / "mine")
        shutil.rmtree(tmp_path / "cache")

    make_once(first_copy, tmp_path, make)
    return only_run(tmp_path)


def recorded_hits(folder: Path, rule: str, branch: str) -> int:
    """How many test images the weights that `rule` chose have classified correctly, by the record."""
    step = json.loads((folder / "run.json").read_text())["result"][rule]["step"]
    _, *lines = (folder / "evaluations.jsonl").read_text().splitlines()
    (counts,) = (line["correct"]["test"][branch] for line in map(json.loads, lines) if line["step"] == step)
    return sum(map(sum, counts))


def test_predictions_are_those_of_the_evaluation(command: Command, tmp_path: Path, run: Path) -> None:
    test_images = [number for number in range(NUM_IMAGES) if split(number) == "test"]
    lines = [f"images/{number}.png,{target(number)},x" for number in test_images]
    (tmp_path / "new.csv").write_text("\n".join(["path,target,bias", *lines]) + "\n")
    rule = next(name for name in json.loads((run / "run.json").read_text())["result"] if name != "last")
    for words, chosen, branch in (((), rule, "debiased"), (("rule=last", "branch=biased"), "last", "biased")):
        outcome = command("predict", str(run), "with", "images=new.csv", *words, data=False)
        assert (outcome.code, outcome.err, outcome.runs) == (0, "", [])
        assert f"weights by {chosen}, train epoch" in outcome.out
        assert f"predictions.csv: {len(test_images)} images; " in outcome.out
        rows = rows_of(tmp_path / "predictions.csv")
        assert [row["path"] for row in rows] == [f"images/{number}.png" for number in test_images]
        hits = sum(row["predicted"] == target(number) for row, number in zip(rows, test_images, strict=True))
        assert hits == recorded_hits(run, chosen, branch)
        for row in rows:
            probabilities = [float(row[f"p_{name}"]) for name in CLASSES]
            assert sum(probabilities) == pytest.approx(1, abs=1e-5)
            assert CLASSES[probabilities.index(max(probabilities))] == row["predicted"]


def test_branches_on_request(command: Command, tmp_path: Path, run: Path) -> None:
    outcome = command(
        "predict", str(run), "with", "images=images/7.png", "branch=all", "--out", "out/all.csv", data=False
    )
    assert outcome.code == 0
    rows = rows_of(tmp_path / "out" / "all.csv")
    assert [(row["path"], row["branch"]) for row in rows] == [("images/7.png", "debiased"), ("images/7.png", "biased")]
    assert rows[0]["p_five"] != rows[1]["p_five"]
    command("predict", str(run), "with", "images=images/7.png", data=False)
    (row,) = rows_of(tmp_path / "predictions.csv")
    assert "branch" not in row
    assert row["p_five"] == rows[0]["p_five"]


def test_unreadable_images_are_told_and_left_out(command: Command, tmp_path: Path, run: Path) -> None:
    images = tmp_path / "images"
    (images / "deep" / "er").mkdir(parents=True)
    shutil.move(images / "5.png", images / "deep" / "er" / "5.JPEG")
    (images / "6.png").write_bytes(b"no image")
    (images / "7.png").write_bytes((images / "7.png").read_bytes()[:40])
    (images / "notes.txt").write_text("")
    (images / ".hidden.png").write_text("")
    for workers, size in ((0, 1000), (2, 7)):
        words = ("images=images", f"workers={workers}", f"batch_size={size}", "out=some.csv")
        outcome = command("predict", str(run), "with", *words, data=False)
        assert outcome.code == 1
        told = outcome.err.splitlines()
        assert len(told) == 2
        assert all(
            f"left out: images/{n}.png is not a complete image" in line for n, line in zip((6, 7), told, strict=True)
        )
        assert "some.csv: 118 images, 2 skipped because they cannot be read; " in outcome.out
        assert "images: files ignored because their names are not those of images: 1" in outcome.out
        paths = [row["path"] for row in rows_of(tmp_path / "some.csv")]
        assert len(paths) == NUM_IMAGES - 2
        assert "images/deep/er/5.JPEG" in paths
    (tmp_path / "two.csv").write_text("path\nimages/1.png\nimages/nowhere.png\nimages/deep\n")
    outcome = command("predict", str(run), "with", "images=two.csv", data=False)
    assert outcome.code == 1
    assert "nowhere.png does not exist" in outcome.err
    assert "images/deep is not a file" in outcome.err
    assert [row["path"] for row in rows_of(tmp_path / "predictions.csv")] == ["images/1.png"]


def test_in_python(run: Path, tmp_path: Path) -> None:
    model = debiaslab.load(run)
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    assert model.class_names == CLASSES
    assert model.branches() == ["debiased", "biased"]
    with Image.open(tmp_path / "images" / "9.png") as image:
        values = model.preprocess(image)
    assert values.shape == (3, SIZE, SIZE)
    assert torch.equal(values, model.preprocess(tmp_path / "images" / "9.png"))
    calls: list[Any] = []
    model.method.get_submodule("biased").register_forward_hook(lambda *_: calls.append(1))
    logits = model(values[None])
    assert calls == []  # the prediction takes no more than the branch that predicts
    assert torch.equal(logits, model.branch_logits(values[None])["debiased"])
    other = debiaslab.load(run.name, rule="last")
    assert other.facts["rule"] == "last"
    with pytest.raises(UserError, match="no recorded run 'nothing'"):
        debiaslab.load("nothing")


def test_the_import_alone_brings_nothing_along() -> None:
    code = "import sys, debiaslab; print([name for name in ('torch', 'numpy', 'typing') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env={}, check=True)
    assert done.stdout == "[]\n"


def test_a_run_in_mongodb(command: Command, tmp_path: Path, port: int) -> None:
    address = f"localhost:{port}:predictions"
    (folder,) = command("-m", address, "with", "digits", "smoke", "method=erm").runs
    shutil.move(folder, tmp_path / "elsewhere")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    outcome = command("-m", address, "predict", folder.name, "with", "images=red.png", data=False)
    assert (outcome.code, outcome.err) == (0, "")
    found = rows_of(tmp_path / "predictions.csv")
    assert command("predict", "elsewhere", "with", "images=red.png", data=False).code == 0
    assert rows_of(tmp_path / "predictions.csv") == found
    assert list(found[0]) == ["path", "predicted", *(f"p_{number}" for number in range(10))]


def change_facts(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    for name in (LAST, SELECTED):
        tensors, facts = read_checkpoint(run / name)
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        change(facts)
        write_checkpoint(run / name, tensors, facts)


def test_older_runs_did_not_record_what_weights_are_given(command: Command, tmp_path: Path, run: Path) -> None:
    def predictions() -> list[dict[str, str]]:
        assert command("predict", str(run), "with", "images=images/7.png", data=False).code == 0
        return rows_of(tmp_path / "predictions.csv")

    expected = predictions()
    change_facts(run, lambda facts: facts.pop("input"))
    assert predictions() == expected


def test_what_settings_tell_of_older_runs_is_what_newer_ones_record(command: Command, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    (folder,) = command("with", "digits", "smoke", "method=erm").runs
    found = []
    for _ in range(2):
        assert command("predict", str(folder), "with", "images=red.png", data=False).code == 0
        found.append(rows_of(tmp_path / "predictions.csv"))
        change_facts(folder, lambda facts: facts.pop("input", None))
    assert found[0] == found[1]


def test_mistakes_are_one_line_and_leave_nothing(command: Command, tmp_path: Path, run: Path) -> None:
    unfinished = json.loads((run / "run.json").read_text()) | {"status": "INTERRUPTED"}
    shutil.copytree(run, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "run.json").write_text(json.dumps(unfinished))
    shutil.copytree(run, tmp_path / "without")
    (tmp_path / "without" / SELECTED).unlink()
    shutil.copytree(run, tmp_path / "foreign")
    change_facts(tmp_path / "foreign", lambda facts: facts["input"]["preprocessing"]["prepare"].update(kind="Cut"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").write_text("file,x\na.png,1\n")
    before = sorted(tmp_path.rglob("[!.]*"))  # the index of records is hidden
    given = "images=images"
    for words, message in (
        ((), "which run? Write `python main.py predict RUN with images=FOLDER_OR_CSV`"),
        ((str(run),), "which images? Write `python main.py predict RUN with images=FOLDER_OR_CSV`"),
        ((str(run), "with", "images=nowhere"), "images=nowhere: no such file or folder"),
        ((str(run), "with", "images=empty"), "images=empty: contains no image"),
        ((str(run), "with", "images=empty.csv"), "empty.csv, line 1: no name of a column"),
        (
            (str(run), "with", given, "branch=bised"),
            "unknown branch 'branch=bised'; did you mean 'biased'? one of all, biased, debiased",
        ),
        ((str(run), "with", given, "rule=best_valid_accuracy"), "has kept no weights by rule=best_valid_accuracy; use"),
        ((str(run), "with", given, "image=x"), "unknown word 'image'; did you mean 'images'?"),
        ((str(run), "with", given, "device=tpu"), "device='tpu' is not available"),
        ((str(run), "with", given, "out=images"), "out=images is a folder; give the file to write"),
        ((str(run), "with", given, "batch_size=0"), "batch_size=0: must be a whole number, 1 or more"),
        (("runs/nothing", "with", given), "no recorded run 'runs/nothing'"),
        (("unfinished", "with", given), "the run unfinished is interrupted: only a complete one has left weights"),
        (("without", "with", given), "without/selected.safetensors: No such file"),
        (("foreign", "with", given), "the weights of the run foreign do not say how images are made: 'Cut'"),
    ):
        outcome = command("predict", *words, data=False)
        assert (outcome.code, outcome.out) == (2, ""), words
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
    assert sorted(tmp_path.rglob("[!.]*")) == before


def test_an_interruption_leaves_what_was_there(
    command: Command, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Iterator[Any]:
        yield next(iter(predict_files(*arguments)))
        raise KeyboardInterrupt

    (tmp_path / "predictions.csv").write_text("earlier")
    monkeypatch.setattr("debiaslab.commands.predict.predict_files", interrupted)
    assert command("predict", str(run), "with", "images=images", "batch_size=10", data=False).code == 130
    assert (tmp_path / "predictions.csv").read_text() == "earlier"
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("prepare", [Stretched(12), ResizedCenterCrop(14, 12)])
@pytest.mark.parametrize("normalize", [None, ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))])
def test_preprocessing_is_that_of_evaluations(tmp_path: Path, prepare: Any, normalize: Any) -> None:
    noise = torch.randint(256, (20, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(noise.numpy())
    preprocessing = Preprocessing(prepare, normalize)
    pixels = torch.tensor(memoryview(prepare(image).tobytes())).view(1, 12, 12, 3).permute(0, 3, 1, 2).contiguous()
    assert torch.equal(preprocessing(image)[None], as_input(pixels, normalize))
    again = Preprocessing.from_facts(json.loads(json.dumps(preprocessing.facts())))
    assert again == preprocessing


def test_clips_are_no_image_files(digits: BiasedDataset) -> None:
    assert digits.preprocessing() == Preprocessing(Stretched(28), None)
    images = digits.test.all_images()
    clips = replace(digits.test, images=images[:, :, None].expand(-1, -1, 8, -1, -1))
    assert replace(digits, test=clips).preprocessing() is None
