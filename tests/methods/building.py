"""Methods on the coloured digits, built as a run builds them, but short."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from debiaslab.core.settings import declared
from debiaslab.datasets import DATASETS, BiasedDataset
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.methods import Batch, Method
from debiaslab.models import default_model_hparams
from debiaslab.settings.recipes import ResolvedRecipe, resolve
from debiaslab.settings.setup import Setup, check
from debiaslab.training.batches import Batches
from debiaslab.training.loop import Options, Trained, Trainer, prepare_phase

NUM_STEPS = 45  # of a short run: more than two epochs
BATCH_SIZE = 64


class Watch:
    """An observer that keeps the evaluations, and interrupts the run at its update number `interrupt_at`."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.interrupt_at, self.updates = interrupt_at, 0
        self.evaluations: list[Evaluation] = []

    def progress(self, phase: str, step: int, num_steps: int) -> None:
        self.updates += 1
        if self.updates == self.interrupt_at:
            raise KeyboardInterrupt

    def evaluated(self, history: History, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation)


def recipe_of(
    method: str, dataset: str, name: str | None = None, protocol: str = "holdout", percent: float | None = None
) -> ResolvedRecipe:
    """The resolved recipe, where `percent` of the training images conflict with the bias (None: not known)."""
    data: dict[str, Any] = {"name": dataset, "protocol": protocol}
    if percent is not None:
        (ratio,) = (name for name, known in declared(DATASETS[dataset]).items() if known.percent is not None)
        data[ratio] = percent if ratio == "percent" else percent / 100
    return resolve(method, data, name)


def short_setup(
    method: str,
    data_root: Path,
    seed: int = 1,
    dataset: str = "digits",
    num_steps: int | None = NUM_STEPS,
    batch_size: int = BATCH_SIZE,
    **hparams: Any,
) -> Setup:
    """A run of `num_steps` steps per phase; `hparams` are what a user would change."""
    recipe = recipe_of(method, dataset)
    short = recipe.hparams({"num_steps": num_steps, "batch_size": batch_size}) | hparams
    model = recipe.recipe.model
    model_hparams = default_model_hparams(model) | recipe.model_hparams(model)
    return check(
        {
            "seed": seed,
            "device": "cpu",
            "train": True,
            "checkpoint": None,
            "resume": None,
            "log_dir": "runs",
            "evaluate_every": 1,
            "evaluate_images": None,
            "checkpoint_seconds": 0.0,
            "memory_gb": 4.0,
            "workers": 0,
            "selection": "best_valid_unbiased",
            "data": {"name": dataset, "root": str(data_root)},
            "method": {"name": method, "recipe": recipe.name, "hparams": short},
            "model": {"name": model, "pretrained": "none", "hparams": model_hparams},
        }
    )


def fitting(method: str, data: BiasedDataset) -> BiasedDataset:
    """`data`, or, for a method that needs images in all groups, with other bias labels."""
    if method != "subg":
        return data
    bias = torch.arange(len(data.train)).div(data.num_classes, rounding_mode="floor") % data.num_biases
    return replace(data, train=replace(data.train, bias=bias))


def build(setup: Setup, data: BiasedDataset) -> Method:
    return setup.build_method(data, torch.device("cpu"))


def trainer(setup: Setup, method: Method, data: BiasedDataset, watch: Watch, checkpoint: Path | None = None) -> Trainer:
    options = Options(seed=setup.run.seed, selection=setup.run.selection, checkpoint=checkpoint, checkpoint_seconds=0.0)
    return Trainer(method, data, options, watch)


def trained(setup: Setup, data: BiasedDataset) -> tuple[Method, Trained]:
    """A method and the outcome of its short run."""
    method = build(setup, data)
    return method, trainer(setup, method, data, Watch()).fit()


def first_batches(method: Method, data: BiasedDataset, count: int, phase: int = -1, seed: int = 1) -> list[Batch]:
    """The first `count` batches of the method's phase number `phase`, which begins."""
    batches = Batches(data, method.phases()[phase], seed, method.needs_bias)
    if method.phases()[phase].begin is not None:
        prepare_phase(method, method.phases()[phase], batches)
    return [batch for batch, _ in zip(batches.from_step(0), range(count), strict=False)]
