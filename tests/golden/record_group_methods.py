"""Record group_dro.npz and bias_balance.npz by running the authors' code, on the CPU.

    python -m tests.golden.record_group_methods LOSS_PY BBLOSS_PY UTILS_PY

LOSS_PY is `loss.py` of kohpangwei/group_DRO (cbbc1c5); BBLOSS_PY and UTILS_PY are `debias/losses/bbloss.py` and
`debias/datasets/utils.py` of grayhong/bias-contrastive-learning (35562b6). Our methods are not used.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.golden.reference import (
    CLASSES,
    NUM_IMAGES,
    final,
    initial,
    load,
    logits,
    make_data,
    network,
    pixels,
    shuffled_batches,
    step,
    write,
)

STEPS, BATCH, SEED = 50, 32, 31
HPARAMS = {"lr": 0.05, "weight_decay": 1e-4, "optimizer": "SGD", "momentum": 0.9}
GROUP_DRO = {"robust_step_size": 0.1, "generalization_adjustment": 0.5}

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits, target, bias


def main(paths: list[str]) -> None:
    setattr(Tensor, "cuda", lambda self: self)  # noqa: B010
    loss, bbloss, utils = (load(Path(path)) for path in paths)
    data = make_data(SEED, conflicting=0.6)  # there are images of each group: the authors divide by their number
    target, bias = torch.from_numpy(data["attrs"]).T
    counts = (target * CLASSES + bias).bincount(minlength=CLASSES * CLASSES)
    computer = loss.LossComputer(
        nn.CrossEntropyLoss(reduction="none"),
        is_robust=True,
        dataset=SimpleNamespace(n_groups=len(counts), group_counts=counts.float, group_str=str),
        alpha=0.2,
        adj=numpy.full(len(counts), GROUP_DRO["generalization_adjustment"]),
        step_size=GROUP_DRO["robust_step_size"],
    )
    weights: list[Tensor] = []

    def robust(outputs: Tensor, target: Tensor, bias: Tensor) -> Tensor:
        value: Tensor = computer.loss(outputs, target, target * CLASSES + bias, is_training=True)
        weights.append(computer.adv_probs.clone())
        return value

    source = "kohpangwei/group_DRO cbbc1c5, loss.py: LossComputer"
    arrays = train(robust, data)
    record("group_dro", source, GROUP_DRO, arrays | {"group_weight": torch.stack(weights).numpy()})

    balanced = bbloss.BBLoss(utils.get_confusion_matrix(CLASSES, target, bias)[1])
    outputs = torch.randn(NUM_IMAGES, CLASSES, generator=torch.Generator().manual_seed(SEED)).requires_grad_()
    value = balanced(outputs * 1, target, bias)  # of all images at once; it changes what it is given
    (gradient,) = torch.autograd.grad(value, outputs)
    bare = {"logits": outputs.detach(), "loss": value.detach(), "gradient": gradient}
    source = "grayhong/bias-contrastive-learning 35562b6: BBLoss, get_confusion_matrix"
    arrays = train(balanced, data) | {f"bare/{name}": tensor.numpy() for name, tensor in bare.items()}
    record("bias_balance", source, {}, arrays)


def train(loss: Loss, data: Mapping[str, Any]) -> dict[str, Any]:
    """Train a small network with `loss` on fixed batches; returns what happened."""
    x, (target, bias) = pixels(data), torch.from_numpy(data["attrs"]).T
    parameters = initial(network(SEED))
    rates = {name: HPARAMS[name] for name in ("lr", "momentum", "weight_decay")}
    optimizer: Any = torch.optim.SGD
    optimizer = optimizer(parameters.values(), **rates)
    batches = shuffled_batches(numpy.arange(NUM_IMAGES), BATCH, STEPS, SEED + 1)
    losses, plain = [], []
    for index in torch.from_numpy(batches):
        outputs = logits(parameters, x[index])
        plain.append(cross_entropy(outputs, target[index]).item())
        value = loss(outputs, target[index], bias[index])
        step(value, optimizer)
        losses.append(value.item())
    return {
        **data,
        "batches": batches,
        "loss": numpy.array(losses),
        "cross_entropy": numpy.array(plain),
        "logits": logits(parameters, x).detach().numpy(),
        **final({"classifier": parameters}),
    }


def record(method: str, source: str, own: Mapping[str, float], arrays: Mapping[str, Any]) -> None:
    init = {"classifier": network(SEED)}
    meta = {"method": method, "source": source, "hparams": HPARAMS | dict(own), "init": init}
    write(Path(__file__).with_name(f"{method}.npz"), meta, arrays)


if __name__ == "__main__":
    main(sys.argv[1:])
