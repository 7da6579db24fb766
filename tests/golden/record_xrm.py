"""Record xrm.npz by running the authors' first training, on the CPU.

    python -m tests.golden.record_xrm ALGORITHMS_PY FILE

ALGORITHMS_PY is of facebookresearch/XRM (5e90815), whose class XRM trains two MLPs of ours. Our method is not used.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from tests.golden import reference
from tests.golden.reference import CLASSES, NUM_IMAGES, load

HPARAMS: dict[str, Any] = {"lr": 0.02, "weight_decay": 1e-3, "optimizer": "Adam"}
BATCH, STEPS = 32, 24


class Twins(nn.Module):
    """Logits [B, CLASSES, 2] of both networks."""

    def __init__(self, first: reference.Parameters, second: reference.Parameters) -> None:
        super().__init__()
        self.both = first, second

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([reference.logits(own, x) for own in self.both], dim=2)


def main(algorithms_py: Path, path: Path) -> None:
    data, init = reference.make_data(seed=41), {"first": reference.network(42), "second": reference.network(43)}
    first, second = reference.initial(init["first"]), reference.initial(init["second"])
    x, y = reference.pixels(data), torch.from_numpy(data["attrs"][:, 0])
    optimizer: Any = torch.optim.Adam(
        [*first.values(), *second.values()], lr=HPARAMS["lr"], weight_decay=HPARAMS["weight_decay"]
    )
    optimizer.lr_scheduler = None
    generator = numpy.random.default_rng(44)
    of_second = generator.random(NUM_IMAGES) < 0.5
    assigned = torch.from_numpy(~of_second).long()[:, None]
    batches = reference.shuffled_batches(numpy.arange(NUM_IMAGES), BATCH, STEPS, seed=45)
    draws = generator.random((STEPS, BATCH), dtype=numpy.float32)
    twins, hparams = Twins(first, second), {"device": "cpu", "num_y": CLASSES}
    xrm = load(algorithms_py).XRM(hparams, twins, optimizer, SimpleNamespace(y=y), assigned)
    losses: list[float] = []
    labels, of_batch = [], xrm.get_loss

    def recorded_loss(*given: Any) -> Any:
        loss = of_batch(*given)
        losses.append(loss.item())
        return loss

    xrm.get_loss = recorded_loss
    for index, own in zip(batches, draws, strict=True):
        setattr(torch, "bernoulli", lambda p, own=own: (torch.from_numpy(own) < p).float())  # noqa: B010
        xrm.update((index, x[index], None, None))
        labels.append(xrm.y_tr_dynamic.numpy().copy())
    wrong = twins(x).argmax(dim=1) != y[:, None]
    meta = {"method": "xrm", "source": "facebookresearch/XRM 5e90815: XRM", "hparams": HPARAMS, "init": init}
    arrays = {**data, "batches": batches, "of_second": of_second, "draws": draws, "labels": numpy.stack(labels)}
    arrays |= {"loss": losses, "mistaken": (wrong[:, 0] | wrong[:, 1]).numpy()}
    reference.write(path, meta, arrays | reference.final({"first": first, "second": second}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
