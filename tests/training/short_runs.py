"""Short runs of every method, by one process or, `python -m tests.training.short_runs DATA OUT`, by several.

Those take their places from torchrun's environment. The number 0 writes what each run has left.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, distributed

from debiaslab.core import ranks
from debiaslab.core.ranks import Ranks
from debiaslab.core.tensor_files import read_tensors, write_tensors
from debiaslab.datasets import BiasedDataset, dataset_config, inputs
from debiaslab.evaluation import counting
from debiaslab.methods import METHODS, Batch, Method
from debiaslab.models.batch_norm import share_encoders
from debiaslab.settings.setup import Setup
from debiaslab.training import batches
from tests.methods.building import Watch, build, short_setup, trainer

NUM_STEPS, NUM_TRAIN, NUM_TESTED, BATCH_SIZE = 10, 145, 40, 23  # 6 batches of 23 images and one of 7 in an epoch
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"widths": (8, 6)},
    "mlp_branches": {"width": 6},
    "simple_conv": {"widths": (3, 4), "f_kernel": 3},
}
HPARAMS: dict[str, dict[str, Any]] = {  # settings with which a short run has all that a long one has
    "lff_be": {"ensemble_confidence": 0.11, "ensemble_votes": 1, "ensemble_size": 2},
    "disent_be": {"ensemble_confidence": 0.11, "ensemble_votes": 1, "ensemble_size": 2},
    "disent": {"curr_step": 4},
    "dpr": {"biased_epochs": None, "biased_steps": 4},
    "dfr": {"fits": 2, "penalties": [1.0]},
    "afr": {"retrain_steps": 3},
    "lc": {"curr_step": 4},
    "lff_selecmix": {"mini_batches": 2},
}
IN_FLOAT32 = ("dfr",)  # methods that compute in float32 whatever the networks do


@dataclass(frozen=True)
class Left:
    """What a run has left: the losses of each step, its evaluations as text, and its state."""

    losses: Tensor
    evaluations: str
    state: dict[str, Tensor]


@cache
def short_data(data_root: Path, in_all_groups: bool) -> BiasedDataset:
    skew = {"skew": 0.9} if in_all_groups else {}
    whole = dataset_config({"name": "digits", "root": str(data_root), **skew}).load()
    train = whole.train.select(torch.arange(1_200 if in_all_groups else NUM_TRAIN))
    return replace(whole.limit(NUM_TESTED), train=train)


def setup_of(name: str, data_root: Path) -> Setup:
    setup = short_setup(name, data_root, num_steps=NUM_STEPS, batch_size=BATCH_SIZE, **HPARAMS.get(name, {}))
    model: Any = setup.model
    return replace(setup, model=replace(model, **NETWORKS[setup.config["model"]["name"]]))


@contextmanager
def in_float64(method: Method) -> Iterator[None]:
    """Compute in float64 within the block."""

    def as_input(*given: Any) -> Tensor:
        return inputs.as_input(*given).double()

    method.double()
    with patch.object(batches, "as_input", as_input), patch.object(counting, "as_input", as_input):
        yield


def train_short(
    name: str, data_root: Path, sharing: Ranks | None = None, *, double: bool = False, watch: Watch | None = None
) -> Left:
    setup, data = setup_of(name, data_root), short_data(data_root, name == "subg")
    method = build(setup, data)
    found: list[Tensor] = []
    with ExitStack() as stack:
        if double and name not in IN_FLOAT32:
            stack.enter_context(in_float64(method))
        if sharing is not None:
            share_encoders(method, sharing)
        stack.enter_context(ranks.shared_by(sharing))
        run = trainer(setup, method, data, watch or Watch())
        if double:  # losses are compared, evaluations are not
            run.options = replace(run.options, evaluate_every=NUM_STEPS)
        run.phases = [replace(phase, update=noting(phase.update, found)) for phase in run.phases]
        outcome = run.fit()
    return Left(torch.stack(found), str(outcome.history.evaluations), method.state_dict())


def noting(
    update: Callable[[Batch], Mapping[str, Tensor]], found: list[Tensor]
) -> Callable[[Batch], dict[str, Tensor]]:
    def noted(batch: Batch) -> dict[str, Tensor]:
        scalars = dict(update(batch))
        found.append(scalars["loss"].double())
        return scalars

    return noted


def main(data_root: Path, out: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    sharing = ranks.of_this_process()
    assert sharing is not None
    for name in METHODS:
        for double in (False, True):
            left = train_short(name, data_root, sharing, double=double)
            if sharing.rank == 0:
                path = out / f"{name}_{'float64' if double else 'float32'}"
                write_tensors(path, {**left.state, "losses": left.losses}, {"evaluations": left.evaluations})
    distributed.destroy_process_group()


def read_left(path: Path) -> Left:
    tensors, facts = read_tensors(path)
    return Left(tensors.pop("losses"), facts["evaluations"], tensors)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
