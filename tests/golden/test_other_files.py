"""A DeNetDM file with other sizes and settings than the shipped one, from plain PyTorch code written for this test."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, log_softmax, softmax, softplus

from debiaslab.methods.vanilla_biased import outputs_of
from tests.golden.__main__ import main
from tests.golden.format import GoldenFile
from tests.golden.rebias import build
from tests.golden.reference import initial
from tests.golden.simple_conv import NORMALIZE

SIZE, WIDTH, CLASSES, STEPS, BATCH = 12, 30, 5, 7, 17
STAGE1 = {"lr": 3e-3, "weight_decay": 1e-2, "optimizer": "AdamW"}
STAGE2 = {
    "lr": 2e-3, "weight_decay": 1e-3, "optimizer": "Adam", "poe_weight": 0.5, "distill_weight": 0.7, "temperature": 3,
}  # fmt: skip


def layers(branch: str, depth: int) -> list[list[Any]]:
    """The parameters of a branch, as the format lists them."""
    sizes = [3 * SIZE * SIZE, *[WIDTH] * depth]
    return [
        entry
        for layer in range(depth)
        for entry in (
            [f"{branch}.{layer}.weight", [sizes[layer + 1], sizes[layer]], "fan_in"],
            [f"{branch}.{layer}.bias", [sizes[layer + 1]], "small"],
        )
    ]


def network(seed: int, shallow: int, deep: int) -> dict[str, Any]:
    head = [["classifier.weight", [CLASSES, WIDTH], "fan_in"], ["classifier.bias", [CLASSES], "small"]]
    return {"seed": seed, "params": [*layers("debias_branch", shallow), *layers("bias_branch", deep), *head]}


def branch_features(parameters: dict[str, Tensor], branch: str, x: Tensor) -> Tensor:
    count = sum(name.startswith(branch) for name in parameters) // 2
    for layer in range(count):
        x = linear(x, parameters[f"{branch}.{layer}.weight"], parameters[f"{branch}.{layer}.bias"]).relu()
    return x


def logits(parameters: dict[str, Tensor], x: Tensor, debias: float, bias: float) -> Tensor:
    features = debias * branch_features(parameters, "debias_branch", x) + bias * branch_features(
        parameters, "bias_branch", x
    )
    return linear(features, parameters["classifier.weight"], parameters["classifier.bias"])


def write_file(path: Path) -> None:
    generator = numpy.random.default_rng(5)
    arrays: dict[str, Any] = {
        "images": generator.integers(0, 256, (64, SIZE, SIZE, 3), dtype=numpy.uint8),
        "attrs": generator.integers(0, CLASSES, (64, 2)),
        "batches": generator.integers(0, 64, (STEPS, BATCH)),
    }
    x = torch.from_numpy(arrays["images"].transpose(0, 3, 1, 2).reshape(64, -1).copy()).float() / 255
    y = torch.from_numpy(arrays["attrs"][:, 0])
    init = {"stage1": network(3, shallow=1, deep=3), "stage2_student": network(4, shallow=2, deep=3)}
    teacher, student = initial(init["stage1"]), initial(init["stage2_student"])

    optimizer: torch.optim.Optimizer = torch.optim.AdamW(teacher.values(), lr=3e-3, weight_decay=1e-2)
    losses = []
    for index in arrays["batches"]:
        loss = cross_entropy(logits(teacher, x[index], 1, 1), y[index])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    arrays["stage1/loss"] = losses
    for name, pair in {"logits_poe": (1, 1), "logits_debias": (1, 0), "logits_bias": (0, 1)}.items():
        arrays[f"stage1/{name}"] = logits(teacher, x[:9], *pair).detach().numpy()

    with torch.no_grad():
        for name in student:
            if not name.startswith("debias_branch"):
                student[name].copy_(teacher[name])
    trained = [value for name, value in student.items() if not name.startswith("bias_branch")]
    optimizer = torch.optim.Adam(trained, lr=2e-3, weight_decay=1e-3)
    losses = []
    for index in arrays["batches"]:
        poe = cross_entropy(logits(student, x[index], 1, 1), y[index])
        soft = softmax(logits(teacher, x[index], 1, 0).detach() / 3, dim=1)
        distill = -(soft * log_softmax(logits(student, x[index], 1, 0) / 3, dim=1)).sum() / len(index) * 9
        loss = 0.5 * poe + 0.7 * distill
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    arrays["stage2/loss"] = losses
    arrays["stage2/logits_debias"] = logits(student, x[:9], 1, 0).detach().numpy()
    for stage, parameters in (("stage1", teacher), ("stage2", student)):
        for name, value in parameters.items():
            arrays[f"{stage}/final/{name}"] = value.detach().numpy()
    meta = {"method": "denetdm", "hparams": {"stage1": STAGE1, "stage2": STAGE2}, "init": init}
    numpy.savez(path, meta=numpy.array(json.dumps(meta)), **arrays)


def test_other_sizes_and_settings(tmp_path: Path) -> None:
    write_file(tmp_path / "other.npz")
    assert main([str(tmp_path / "other.npz")]) == 0


@torch.no_grad()
def outer_loss(file: GoldenFile) -> float:
    """The loss of f in the first step, by hand; g is not updated before."""
    method, batch = build(file), file.batches(NORMALIZE)[0]
    for network in file.meta["init"]:
        file.initialise(network, [method.get_submodule(network)])
    f, g, head = outputs_of(method.f, batch.image), outputs_of(method.g, batch.image), method.get_submodule("head")
    if file.meta["method"] == "rubi":
        mask = head(g.features)
        return float(cross_entropy(f.logits * mask.sigmoid(), batch.target) + cross_entropy(mask, batch.target))
    added = softplus(head(f.features)) * g.logits
    entropy = -(softmax(added, dim=1) * log_softmax(added, dim=1)).sum(dim=1).mean()
    return float(cross_entropy(f.logits + added, batch.target) + 0.36 * entropy)


@pytest.mark.parametrize("method", ["rubi", "learned_mixin"])
def test_other_weights_of_the_outer_loss(tmp_path: Path, method: str) -> None:
    """The loss of f is the outer loss times its weight, and nothing else."""
    shipped = GoldenFile(Path(__file__).parent / f"{method}.npz")
    arrays: dict[str, Any] = {
        **{name: shipped[name] for name in ("images", "attrs")},
        "batches": shipped["batches"][:1],
    }
    for network in shipped.meta["init"]:  # a rate this small leaves all parameters as they are
        pairs = zip(shipped.initial_names(network), shipped.initial_parameters(network), strict=True)
        arrays |= {f"final/{network}/{name}": parameter.numpy() for name, parameter in pairs}
    hparams = {**shipped.meta["hparams"], "f_lambda_outer": 2.5, "n_g_update": 0, "lr": 1e-12}
    path = tmp_path / "other.npz"
    for factor, code in ((2.5, 0), (1.0, 1)):
        losses: dict[str, Any] = {"loss/f": [factor * outer_loss(shipped)], "loss/g": [0.0]}
        numpy.savez(path, meta=numpy.array(json.dumps({**shipped.meta, "hparams": hparams})), **arrays, **losses)
        assert main([str(path)]) == code
