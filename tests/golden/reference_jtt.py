"""JTT in plain PyTorch, from the paper's algorithm 1 and the way the authors' code enlarges the training set."""

import sys
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.nn.functional import cross_entropy

from tests.golden.reference import (
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

HPARAMS: dict[str, Any] = {"lr": 0.004, "weight_decay": 1e-3, "optimizer": "Adam", "copies": 7}
BATCH, FIRST_STEPS, SECOND_STEPS = 24, 12, 24


def main(path: Path) -> None:
    data, init = make_data(seed=1), {"classifier": network(seed=2)}
    x, y = pixels(data), torch.from_numpy(data["attrs"][:, 0])

    def train(parameters: Parameters, batches: Any) -> list[float]:
        optimizer = torch.optim.Adam(parameters.values(), lr=HPARAMS["lr"], weight_decay=HPARAMS["weight_decay"])
        losses = []
        for index in batches:
            loss = cross_entropy(logits(parameters, x[index]), y[index])
            step(loss, optimizer)
            losses.append(loss.item())
        return losses

    first, second = initial(init["classifier"]), initial(init["classifier"])
    arrays: dict[str, Any] = {**data, "batches": shuffled_batches(numpy.arange(NUM_IMAGES), BATCH, FIRST_STEPS, seed=3)}
    arrays["identify/loss"] = train(first, arrays["batches"])
    with torch.no_grad():
        errors = (logits(first, x).argmax(dim=1) != y).nonzero()[:, 0].numpy()
    enlarged = numpy.concatenate([numpy.arange(NUM_IMAGES), *[errors] * HPARAMS["copies"]])
    arrays |= {"errors": errors, "enlarged": enlarged}
    arrays["train/batches"] = shuffled_batches(enlarged, BATCH, SECOND_STEPS, seed=4)
    arrays["train/loss"] = train(second, arrays["train/batches"])
    source = "tests/golden/reference_jtt.py: plain PyTorch by the paper, not the authors' code"
    arrays |= final({"identifier": first, "classifier": second})
    write(path, {"method": "jtt", "source": source, "hparams": HPARAMS, "init": init}, arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
