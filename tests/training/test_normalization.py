"""Images reach the networks as the data set says, in training and in evaluation."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.base import CIFAR10_STATISTICS
from debiaslab.datasets.inputs import as_input
from debiaslab.evaluation.counting import count_groups
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.methods import Phase
from debiaslab.settings.setup import check
from debiaslab.training.batches import Batches
from debiaslab.training.loop import Options, Trainer

NORMALIZE = ((0.5, 0.25, 0.0), (0.5, 1.0, 2.0))


def normalized(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in NORMALIZE)
    return (image - mean) / std


def test_as_input() -> None:
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    assert as_input(images, NORMALIZE).flatten().tolist() == pytest.approx([-1.0, 0.75, 0.1])
    assert as_input(images).flatten().tolist() == pytest.approx([0.0, 1.0, 0.2])
    assert images.dtype == torch.uint8


def test_as_input_is_the_formula_to_the_last_bit() -> None:
    mean, std = (torch.tensor(values) for values in CIFAR10_STATISTICS)
    generator = torch.Generator().manual_seed(0)
    for shape in ((300, 3, 32, 32), (3, 3, 230, 230), (5, 3, 2, 9, 8), (0, 3, 8, 8)):
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        for images in (pixels, pixels.transpose(-1, -2), pixels.float()):
            before, channel = images.clone(), (3, *[1] * (images.ndim - 2))
            expected = images.float() / 255
            assert as_input(images).equal(expected)
            expected = (expected - mean.view(channel)) / std.view(channel)
            assert as_input(images, CIFAR10_STATISTICS).equal(expected)
            assert images.equal(before)


class Silent:
    def progress(self, phase: str, step: int, num_steps: int) -> None:
        pass

    def evaluated(self, history: History, evaluation: Evaluation) -> None:
        pass


def test_the_loop_normalises_all_that_networks_see(digits: BiasedDataset) -> None:
    config = {
        "data": {"name": "digits"},
        "method": {"name": "erm", "recipe": "debiaslab", "hparams": {"num_steps": 3, "epochs": None}},
        "model": {"name": "mlp", "hparams": {"widths": [4]}},
    }
    run = {"seed": 1, "device": "cpu", "train": True, "checkpoint": None, "resume": None, "log_dir": "runs"}
    rest = {
        "evaluate_every": 1,
        "evaluate_images": None,
        "checkpoint_seconds": 0.0,
        "memory_gb": 4.0,
        "workers": 0,
        "selection": "last",
    }
    data = replace(digits, normalize=NORMALIZE, extra={"test_again": digits.test})
    method = check({**run, **rest, **config}).build_method(data, torch.device("cpu"))
    trainer = Trainer(method, data, Options(seed=1, selection="last"), Silent())
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    network = method.get_submodule("classifier.encoder")
    network.register_forward_pre_hook(lambda module, inputs: seen[module.training].append(inputs[0].clone()))
    history = trainer.fit().history
    evaluation = history.evaluations[-1]
    assert set(evaluation.correct) == {"valid", "test", "test_again"}
    assert evaluation.correct["test"] == evaluation.correct["test_again"]
    assert len(seen[True]) == 3
    assert torch.cat(seen[False]).allclose(
        normalized(torch.cat([as_input(s.all_images()) for s in data.evaluation_splits().values()])), atol=1e-6
    )
    phase: Phase = trainer.phases[0]
    for step, batch in enumerate(Batches(digits, phase, 1, with_bias=False).from_step(0)):
        assert seen[True][step].allclose(normalized(batch.image), atol=1e-6)


def test_count_groups(digits: BiasedDataset) -> None:
    def logits(image: Tensor) -> dict[str, Tensor]:
        mean, others = image.mean(dim=(1, 2, 3)), torch.full((len(image), 8), -9.0)
        return {"sign": torch.cat([torch.stack([mean, torch.zeros(len(image))], dim=1), others], dim=1)}

    plain = count_groups(logits, digits.test, digits)["sign"]
    shifted = count_groups(logits, digits.test, replace(digits, normalize=((1.0,) * 3, (1.0,) * 3)))["sign"]
    assert plain.correct.sum(axis=1).nonzero()[0].tolist() == [0]  # all positive: class 0
    assert shifted.correct.sum(axis=1).nonzero()[0].tolist() == [1]
