"""Record lc.npz by running the authors' functions, on the CPU.

    python -m tests.golden.record_lc LOSS_PY GROUP_MIXUP_PY UTIL_PY FILE

LOSS_PY and GROUP_MIXUP_PY are of amazon-science/lc-loss (a4f36c7), UTIL_PY of shengliu66/LC (bb46ac4). The steps around
them are those of its learner.py for Colored MNIST, with an MLP of ours. Our method is not used.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn.functional import softmax

from tests.golden import reference
from tests.golden.reference import CLASSES, NUM_IMAGES, load

HPARAMS: dict[str, Any] = {
    "lr": 0.01,
    "weight_decay": 1e-3,
    "q": 0.8,
    "tau": 0.5,
    "ema_alpha": 0.9,
    "avg_type": "mv",
    "curr_step": 10,
    "lambda_dis_align": 2.0,
}
BATCH, STEPS = 32, 30


def main(loss_py: Path, group_mixup_py: Path, util_py: Path, path: Path) -> None:
    setattr(Tensor, "cuda", lambda self: self)  # noqa: B010
    sys.modules["transformers"] = SimpleNamespace(get_linear_schedule_with_warmup=None)  # type: ignore[assignment]
    loss, group_mixup, util = load(loss_py), load(group_mixup_py), load(util_py)
    data, init = reference.make_data(seed=5), {"biased": reference.network(6), "debiased": reference.network(7)}
    x, y = reference.pixels(data), torch.from_numpy(data["attrs"][:, 0])
    biased, debiased = reference.initial(init["biased"]), reference.initial(init["debiased"])
    rates = {"weight_decay": HPARAMS["weight_decay"]}
    optimizers = [
        torch.optim.Adam(biased.values(), lr=HPARAMS["lr"] * 0.1, **rates),
        torch.optim.Adam(debiased.values(), lr=HPARAMS["lr"], **rates),
    ]
    gce, corrected = loss.GeneralizedCELoss(q=HPARAMS["q"]), loss.LogitCorrectionLoss(eta=1.0)
    table = util.EMA_squre(num_classes=CLASSES, alpha=HPARAMS["ema_alpha"], avg_type=HPARAMS["avg_type"])

    batches = reference.shuffled_batches(numpy.arange(NUM_IMAGES), BATCH, STEPS, seed=8)
    series: dict[str, list[Any]] = {name: [] for name in SERIES}
    for step, index in enumerate(batches):
        target = y[index]
        strength = util.sigmoid_rampup(step, HPARAMS["curr_step"]) * 0.5
        biased_logits = reference.logits(biased, x[index])
        probability = softmax(biased_logits.detach() / HPARAMS["tau"], dim=1)
        pseudo_bias = probability.argmax(dim=1)
        table.update(probability, target, pseudo_bias)
        correction = table.parameter.clone()[:, pseudo_bias].t()

        def mix(feature: Tensor, step: int = step, given: Any = (pseudo_bias, correction, target, strength)) -> Any:
            pseudo_bias, correction, target, strength = given
            for seed in (numpy.random.seed, torch.manual_seed, random.seed):
                seed(step)
            return group_mixup.group_mixUp(feature, pseudo_bias, correction, target, CLASSES, strength)

        mixed = mix(x[index])
        share, logits = mixed["lam"], reference.logits(debiased, mixed["mixed_feature"])
        losses = share * corrected(logits, mixed["label_majority"], mixed["mixed_correction"])
        losses = losses + (1 - share) * corrected(logits, mixed["label_minority"], mixed["mixed_correction"])
        terms = losses.mean(), HPARAMS["lambda_dis_align"] * gce(biased_logits, target).mean()
        reference.step(terms[0] + terms[1], *optimizers)
        values = (terms[0].item(), terms[1].item(), share, partners_of(mix, target), pseudo_bias.numpy())
        for name, value in zip(SERIES, (*values, table.parameter.numpy().copy()), strict=True):
            series[name].append(value)
    meta = {
        "method": "lc",
        "source": "amazon-science/lc-loss a4f36c7 (losses, group mixup) and shengliu66/LC bb46ac4 (table, ramp)",
        "hparams": HPARAMS,
        "init": init,
    }
    arrays = {**data, "batches": batches, **{name: numpy.array(values) for name, values in series.items()}}
    reference.write(path, meta, arrays | reference.final({"biased": biased, "debiased": debiased}))


SERIES = ("terms/debiased", "terms/biased", "share", "partner", "pseudo_bias", "table")


def partners_of(mix: Callable[[Tensor], Any], target: Tensor) -> Any:
    """The partner of each image, in the order of the batch: found by mixing the numbers of the images."""
    number = torch.arange(len(target), dtype=torch.float64)
    mixed = mix(number)
    first = target.argsort(stable=True)  # they go through the batch class by class
    partner = torch.empty_like(first)
    partner[first] = ((mixed["mixed_feature"] - mixed["lam"] * number[first]) / (1 - mixed["lam"])).round().long()
    return partner.numpy()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
