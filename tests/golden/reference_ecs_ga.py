"""ECS+GA in plain PyTorch, from the paper's equations and the settings of the authors' code."""

import sys
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from tests.golden.reference import (
    CLASSES,
    NUM_IMAGES,
    Parameters,
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

HPARAMS: dict[str, Any] = {
    "lr": 0.01,
    "weight_decay": 1e-3,
    "optimizer": "Adam",
    "eta": 0.4,
    "hard_score": 0.55,
    "gamma": 1.6,
}
BATCH, EPOCHS, STEPS = 24, 6, 16


def main(path: Path) -> None:
    data, names = make_data(seed=21), ("first", "second", "classifier")
    init = {name: network(seed=22 + number) for number, name in enumerate(names)}
    networks = {name: initial(recipe) for name, recipe in init.items()}
    x, y = pixels(data), torch.from_numpy(data["attrs"][:, 0])

    def losses(parameters: Parameters, index: Any) -> Tensor:
        return -logits(parameters, x[index]).log_softmax(dim=1)[torch.arange(len(index)), y[index]]

    optimizers = {
        name: torch.optim.Adam(own.values(), lr=HPARAMS["lr"], weight_decay=HPARAMS["weight_decay"])
        for name, own in networks.items()
    }
    everything = numpy.arange(NUM_IMAGES)
    per_epoch = NUM_IMAGES // BATCH
    arrays: dict[str, Any] = {**data, "batches": shuffled_batches(everything, BATCH, EPOCHS * per_epoch, seed=25)}
    arrays |= {"score/loss": [], "train/loss": []}
    total = torch.zeros(NUM_IMAGES)
    for number, index in enumerate(arrays["batches"]):
        both = [losses(networks[name], index) for name in ("first", "second")]
        q = [loss.detach().neg().exp() for loss in both]
        for share in q:
            for target in range(CLASSES):
                if (y[index] == target).any():
                    share[y[index] == target] /= share[y[index] == target].max()
        easy = [share > HPARAMS["eta"] for share in q]
        sum_of_losses = 0.0
        for own, other, loss, name in zip(easy, easy[::-1], both, ("first", "second"), strict=True):
            weight = torch.zeros(len(index))
            weight[own & other] = 1.0
            if number >= per_epoch:
                weight[own & ~other] = -1e-4
            step((weight * loss).mean(), optimizers[name])
            sum_of_losses += float((weight * loss).mean().detach())
        arrays["score/loss"].append(sum_of_losses)
        if (number + 1) % per_epoch == 0:
            with torch.no_grad():
                total += sum(losses(networks[name], everything).neg().exp() for name in ("first", "second")) / 2
    arrays["score"] = (1 - total / EPOCHS).numpy()
    hard = arrays["score"] >= HPARAMS["hard_score"]
    arrays["hard"] = hard

    num_hard = int(hard.sum() / NUM_IMAGES * BATCH) + 1
    parts = [
        shuffled_batches(everything[hard], num_hard, STEPS, seed=26),
        shuffled_batches(everything[~hard], BATCH - num_hard, STEPS, seed=27),
    ]
    arrays["train/batches"] = numpy.concatenate(parts, axis=1)
    for index in arrays["train/batches"]:
        loss = losses(networks["classifier"], index)
        size = 1 - loss.detach().neg().exp()
        weight = torch.ones(BATCH)
        weight[num_hard:] = size[:num_hard].sum() / (HPARAMS["gamma"] * size[num_hard:].sum() + 1e-10)
        weight *= BATCH / (weight.sum() + 1e-10)
        step((weight * loss).mean(), optimizers["classifier"])
        arrays["train/loss"].append(float((weight * loss).mean().detach()))
    source = "tests/golden/reference_ecs_ga.py: plain PyTorch by the paper, not the authors' code"
    meta = {"method": "ecs_ga", "source": source, "hparams": HPARAMS, "init": init, "steps_per_epoch": per_epoch}
    write(path, meta, arrays | final(networks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
