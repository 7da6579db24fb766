"""`main.py export_model`: the files say what the run's classifier says."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import debiaslab
from debiaslab.analysis.restored_run import RestoredMethod
from debiaslab.core.vision import torchvision
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import METHODS
from debiaslab.prediction.classifier import TrainedClassifier
from debiaslab.prediction.exporting import example_images, keep_classifier_alone
from tests.conftest import Command
from tests.datasets.own_images import CLASSES, SIZE
from tests.methods.building import build, fitting
from tests.methods.test_contract import contract_setup
from tests.prediction.own_run import train_on_own_images

NUM_IMAGES = 3


@pytest.mark.long
def test_files_give_the_logits_of_the_run(command: Command, tmp_path: Path) -> None:
    words = ("model=resnet18", "num_steps=2", "method=vanilla_biased", "method.hparams.batch_size=40")
    (run,) = train_on_own_images(command, tmp_path, *words).runs
    images = tmp_path / "mine" / "images"
    model = debiaslab.load(run)
    values = torch.stack([model.preprocess(images / f"{number}.png") for number in range(NUM_IMAGES)])
    with torch.no_grad():
        expected = model(values)
    shutil.rmtree(tmp_path / "mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("earlier")
    outcome = command("export_model", str(run), "--out", "out", data=False)
    assert (outcome.code, outcome.err, outcome.runs) == (0, "", [])
    names = ["README.md", "classifier.onnx", "classifier.pt2", "preprocessing.json", "torchvision_resnet18.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == names
    for name in (names[1], names[2], names[4]):
        assert f"{name}: its logits differ from PyTorch's by " in outcome.out

    session = onnxruntime.InferenceSession(out / "classifier.onnx", providers=["CPUExecutionProvider"])
    network = torchvision("models").resnet18(num_classes=3)
    network.load_state_dict(load_file(out / "torchvision_resnet18.safetensors"))
    program = torch.export.load(out / "classifier.pt2").module()
    scale = float(expected.abs().max())
    with torch.no_grad():
        for found in (
            torch.from_numpy(session.run(None, {"image": values.numpy()})[0]),
            program(values),
            network.eval()(values),
        ):
            assert float((found - expected).abs().max()) <= 1e-4 * scale
        assert program(values[:1]).shape == session.run(None, {"image": values[:1].numpy()})[0].shape == (1, 3)
    facts = json.loads((out / "preprocessing.json").read_text())
    assert facts["classes"] == list(CLASSES)
    assert facts["prepare"] == {"kind": "Stretched", "size": SIZE}
    assert json.loads(session.get_modelmeta().custom_metadata_map["debiaslab"]) == facts
    # the biased network g has not come along
    sizes = sum(value.numel() for value in model.method.get_submodule("f").state_dict().values())
    assert sum(value.numel() for value in program.state_dict().values()) == sizes

    card = (out / "README.md").read_text()
    for text in (
        "# vanilla_biased on custom",
        f"run `{run.name}`",
        "classes eight, five, three",
        f"stretched to {SIZE} x {SIZE} pixels",
        "- bias labels: 0 for training, 30 for selection, 30 for evaluation alone; ",
        "- images: test 30, train 60, valid 30",
        "licence: unknown",
        "| eight | red* | ",
        "selected by best_valid_unbiased: train epoch ",
    ):
        assert text in card
    assert str(tmp_path) not in card
    totals = [line.split(" | ")[3] for line in card.splitlines() if line.startswith(("| eight", "| five", "| three"))]
    assert sum(map(int, totals)) == 30


def test_what_does_not_predict_is_removed(digits: BiasedDataset, data_root: Path) -> None:
    preprocessing = digits.preprocessing()
    assert preprocessing is not None
    for name in METHODS:
        method = build(contract_setup(name, data_root, seed=1), fitting(name, digits)).eval()
        classifier = TrainedClassifier(RestoredMethod(method, {}, ("0",) * 10, preprocessing)).eval()
        images = example_images(classifier, 5)
        with torch.no_grad():
            expected, before = classifier(images), len(classifier.state_dict())
            branches = len(classifier.branch_logits(images))
            keep_classifier_alone(classifier)
            assert torch.equal(classifier(images), expected), name
        assert not any(parameter.requires_grad for parameter in classifier.parameters())
        left = classifier.state_dict()
        if branches > 1 and name not in ("disent", "disent_be"):  # both encoders of DisEnt predict
            assert len(left) <= before / 2, name
        assert not any(word in key for key in left for word in ("kept", "difficulty", "votes"))


def test_mistakes_are_one_line_and_leave_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = command("with", "digits", "smoke", "method=erm").runs

    def refused(*words: str) -> str:
        outcome = command("export_model", *words, "--out", "out", data=False)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return outcome.err

    assert "which run? Write `python main.py export_model RUN`" in refused()
    assert "no recorded run 'nothing'" in refused("nothing")
    assert "has kept no weights by rule=best" in refused(str(run), "with", "rule=best")
    assert "unknown word 'ruel'; did you mean 'rule'?" in refused(str(run), "with", "ruel=last")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        assert 'onnxruntime is not installed: pip install ".[onnx]"' in refused(str(run))
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", Wrong)
        assert "classifier.onnx: its logits differ from PyTorch's by " in refused(str(run))


class Wrong:
    """An ONNX Runtime that computes something else."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def run(self, outputs: Any, inputs: dict[str, Any]) -> list[Any]:
        return [numpy.ones((len(inputs["image"]), 10), dtype=numpy.float32)]


def test_a_folder_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    (run,) = command("with", "digits", "smoke", "method=erm").runs
    Image.new("RGB", (2, 2)).save(tmp_path / "out.png")
    outcome = command("export_model", str(run), "--out", "out.png", data=False)
    assert outcome.code == 2
    assert "cannot write into out.png: it is a file, not a folder; choose another with out=DIR" in outcome.err
