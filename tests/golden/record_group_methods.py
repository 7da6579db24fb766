"""Record group_dro.npz and bias_balance.npz by running the authors' code, on the CPU.

    python -m tests.golden.record_group_methods LOSS_PY BBLOSS_PY UTILS_PY

LOSS_PY is `loss.py` of kohpangwei/group_DRO (cbbc1c5); BBLOSS_PY and UTILS_PY are `debias/losses/bbloss.py` and
`debias/datasets/utils.py` of grayhong/bias-contrastive-learning (35562b6). Our code is not used.
"""

import json
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

CLASSES, SIZE, WIDTH, SHAPE = 4, 256, 16, (8, 8, 3)
STEPS, BATCH_SIZE, SEED = 50, 32, 31
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 1e-4

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits, target, bias


def main(paths: list[str]) -> None:
    setattr(Tensor, "cuda", lambda self: self)  # noqa: B010
    loss, bbloss, utils = (load(Path(path)) for path in paths)
    target, bias, images = make_data()
    group = target * CLASSES + bias
    counts = group.bincount(minlength=CLASSES * CLASSES)
    groups = SimpleNamespace(n_groups=len(counts), group_counts=counts.float, group_str=str)
    step_size, adjustment = 0.1, 0.5
    computer = loss.LossComputer(
        nn.CrossEntropyLoss(reduction="none"),
        is_robust=True,
        dataset=groups,
        alpha=0.2,
        adj=numpy.full(len(counts), adjustment),
        step_size=step_size,
    )
    own = {"robust_step_size": step_size, "generalization_adjustment": adjustment}
    q: list[Tensor] = []

    def robust(logits: Tensor, target: Tensor, bias: Tensor) -> Tensor:
        value: Tensor = computer.loss(logits, target, target * CLASSES + bias, is_training=True)
        q.append(computer.adv_probs.clone())
        return value

    source = "kohpangwei/group_DRO cbbc1c5, loss.py: LossComputer"
    record("group_dro", source, own, robust, images, target, bias, lambda: {"group_weight": torch.stack(q)})
    balanced = bbloss.BBLoss(utils.get_confusion_matrix(CLASSES, target, bias)[1])

    def bare() -> dict[str, Tensor]:
        """The loss and its gradient for logits of all images at once."""
        logits = torch.randn(SIZE, CLASSES, generator=torch.Generator().manual_seed(SEED)).requires_grad_()
        value = balanced(logits * 1, target, bias)
        (gradient,) = torch.autograd.grad(value, logits)
        return {"bare/logits": logits.detach(), "bare/loss": value.detach(), "bare/gradient": gradient}

    source = "grayhong/bias-contrastive-learning 35562b6: BBLoss, get_confusion_matrix"
    record("bias_balance", source, {}, balanced, images, target, bias, bare)


def load(path: Path) -> Any:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_data() -> tuple[Tensor, Tensor, numpy.ndarray[Any, Any]]:
    """Images whose first half shows the target and whose second half shows the bias, which agrees in 7 of 10."""
    generator = numpy.random.default_rng(SEED)
    target = generator.integers(0, CLASSES, SIZE)
    bias = numpy.where(generator.random(SIZE) < 0.7, target, generator.integers(0, CLASSES, SIZE))
    shown = generator.integers(0, 256, (2, CLASSES, *SHAPE))
    images = numpy.concatenate([shown[0, target][:, :4], shown[1, bias][:, 4:]], axis=1)
    noisy = (images * 0.5 + generator.integers(0, 128, images.shape)).astype(numpy.uint8)
    return torch.from_numpy(target), torch.from_numpy(bias), noisy


def record(
    method: str,
    source: str,
    own: dict[str, float],
    loss: Loss,
    images: numpy.ndarray[Any, Any],
    target: Tensor,
    bias: Tensor,
    series: Callable[[], dict[str, Tensor]],
) -> None:
    """Train a small network with `loss` on fixed batches and write what happened."""
    inputs = images.shape[1] * images.shape[2] * images.shape[3]
    shapes = {
        "feature.0.weight": ([WIDTH, inputs], "fan_in"),
        "feature.0.bias": ([WIDTH], "small"),
        "classifier.weight": ([CLASSES, WIDTH], "fan_in"),
        "classifier.bias": ([CLASSES], "small"),
    }
    init = {"classifier": {"seed": SEED, "params": [[name, *rest] for name, rest in shapes.items()]}}
    generator = numpy.random.default_rng(SEED)
    values = [generator.standard_normal(shape, dtype=numpy.float32) for shape, _ in shapes.values()]
    scaled = [z / numpy.sqrt(numpy.prod(z.shape[1:])) if z.ndim == 2 else 0.01 * z for z in values]
    first, first_bias, last, last_bias = parameters = [
        torch.from_numpy(numpy.asarray(value, dtype=numpy.float32)).requires_grad_() for value in scaled
    ]
    optimizer = torch.optim.SGD(parameters, LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float().div(255).flatten(1)
    order = numpy.random.default_rng(SEED + 1)
    batches = numpy.stack([order.permutation(SIZE)[:BATCH_SIZE] for _ in range(STEPS)])
    losses, plain = [], []

    def network(index: Tensor) -> Tensor:
        return (pixels[index] @ first.T + first_bias).relu() @ last.T + last_bias

    for index in torch.from_numpy(batches):
        logits = network(index)
        plain.append(cross_entropy(logits, target[index]).item())
        value = loss(logits, target[index], bias[index])
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(value.item())
    hparams = {"lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY, "optimizer": "SGD", "momentum": MOMENTUM} | own
    meta = {"method": method, "source": source, "hparams": hparams, "init": init}
    arrays: dict[str, Any] = {
        "meta": numpy.array(json.dumps(meta)),
        "images": images,
        "attrs": torch.stack([target, bias], 1).numpy(),
        "batches": batches,
        "loss": numpy.array(losses),
        "cross_entropy": numpy.array(plain),
        "logits": network(torch.arange(SIZE)).detach().numpy(),
    }
    arrays |= {name: tensor.numpy() for name, tensor in series().items()}
    arrays |= {
        f"final/classifier/{name}": parameter.detach().numpy()
        for name, parameter in zip(shapes, parameters, strict=True)
    }
    numpy.savez_compressed(Path(__file__).with_name(f"{method}.npz"), **arrays)


if __name__ == "__main__":
    main(sys.argv[1:])
