"""DPR in plain PyTorch, from the paper's equations."""

import sys
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn.functional import softmax

from tests.golden.reference import (
    NUM_IMAGES,
    final,
    initial,
    logits,
    make_data,
    network,
    pixels,
    shuffled_batches,
    step,
    write,
)

HPARAMS: dict[str, Any] = {"lr": 0.01, "weight_decay": 1e-3, "optimizer": "Adam", "q": 0.6, "tau": 1.5}
BATCH, STEPS = 24, 16


def main(path: Path) -> None:
    data, init = make_data(seed=11), {"biased": network(seed=12)}
    x, y = pixels(data), torch.from_numpy(data["attrs"][:, 0])

    def probability(parameters: dict[str, Tensor], index: Any, tau: float = 1.0) -> Tensor:
        return softmax(logits(parameters, x[index]) / tau, dim=1)[torch.arange(len(index)), y[index]]

    def adam(parameters: dict[str, Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters.values(), lr=HPARAMS["lr"], weight_decay=HPARAMS["weight_decay"])

    biased, everything = initial(init["biased"]), numpy.arange(NUM_IMAGES)
    optimizer = adam(biased)
    arrays: dict[str, Any] = {**data, "batches": shuffled_batches(everything, BATCH, STEPS, seed=13), "biased/loss": []}
    for index in arrays["batches"]:
        p = probability(biased, index)
        loss = (HPARAMS["q"] * p.detach() ** HPARAMS["q"] * -p.log()).mean()
        step(loss, optimizer)
        arrays["biased/loss"].append(loss.item())
    with torch.no_grad():
        disagreement = (1 - probability(biased, everything, HPARAMS["tau"])).clamp(min=1e-8)
    share = (disagreement / disagreement.sum()).double().numpy()
    arrays["share"] = share / share.sum()

    debiased = {name: value.detach().clone().requires_grad_() for name, value in biased.items()}
    optimizer = adam(debiased)
    draws = numpy.random.default_rng(14).choice(NUM_IMAGES, (STEPS, BATCH), p=arrays["share"])
    arrays |= {"train/batches": draws, "train/loss": []}
    for index in draws:
        loss = -probability(debiased, index).log().mean()
        step(loss, optimizer)
        arrays["train/loss"].append(loss.item())
    source = "tests/golden/reference_dpr.py: plain PyTorch by the paper, not the authors' code"
    arrays |= final({"biased": biased, "classifier": debiased})
    write(path, {"method": "dpr", "source": source, "hparams": HPARAMS, "init": init}, arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
