"""Prepare runs of the experiment: check them and build data and method before recording starts.

So mistakes are reported before there is a record, and nothing is loaded or built twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from debiaslab.commands.ranks import SharedRun, is_process_of_run, join
from debiaslab.config import Run, ex
from debiaslab.core.errors import UserError
from debiaslab.core.files import require_writable
from debiaslab.core.program import program_name
from debiaslab.core.ranks import of_this_process
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import Method
from debiaslab.recording.observers import STATE, FileRecord, mongo_from_environment
from debiaslab.settings.setup import Setup, check, check_data
from debiaslab.training.single_images import require_no_single_image

if TYPE_CHECKING:  # a training needs no record of another run, nor a reader of foreign weights
    from debiaslab.analysis.records import Record
    from debiaslab.commands.weights import Weights


@dataclass(frozen=True)
class Prepared:
    """A prepared run: its settings without "auto" rules, the data on the CPU, and the method."""

    setup: Setup
    device: torch.device
    data: BiasedDataset
    method: Method
    weights: "Weights | None" = None  # loaded into `method`, for an evaluation


@dataclass(frozen=True)
class ReadyRun:
    """A run that can be started, and the arguments of its command."""

    run: Run
    arguments: tuple[Any, ...]

    def start(self, *more: Any) -> Run:
        """Run and record the command, with additional arguments. Raises `UserError` for an incomplete record."""
        self.run(*self.arguments, *more)
        for observer in self.run.observers:
            if isinstance(observer, FileRecord):
                observer.require_complete()
        return self.run


def prepare(
    command: str,
    settings: Mapping[str, Any],
    named_configs: Sequence[str] = (),
    *,
    info: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> ReadyRun | SharedRun:
    """Prepare a run of `command` with these settings. Raises `UserError` for any mistake."""
    if command == "evaluate" and "id" in settings:
        from debiaslab.commands.evaluated_runs import evaluation_of_run

        source, settings = evaluation_of_run(settings, named_configs)
        run = ex._create_run(command, settings, (), {"evaluates": source.id}, None, options)
        return ReadyRun(run, prepare_evaluation(run, source))
    if command == "evaluate" or settings.get("train") is False:
        from debiaslab.commands.weights import with_released

        settings = with_released(settings)
    run = ex._create_run(command, settings, named_configs, info, None, options)
    if command == "train" and run.config.get("ranks", 1) != 1 and (setup := check(run.config)).run.train:
        setup.check_ranks()
        if not is_process_of_run():
            call = {"command": command, "settings": settings, "named_configs": list(named_configs)}
            return SharedRun(run, setup, {**call, "info": info, "options": options})
        join(setup)
    preparation = PREPARATIONS.get(command)
    return ReadyRun(run, preparation(run) if preparation else ())


def prepare_training(run: Run) -> tuple[Prepared]:
    setup = check(run.config)
    if not setup.run.train:
        return prepare_evaluation(run)
    if setup.run.checkpoint is not None:
        raise UserError(
            f"checkpoint={setup.run.checkpoint} is not used in training: to evaluate it, {program_name()} evaluate"
            " with ..., or train=False; to resume a run, resume=RUN"
        )
    device = setup.device()
    setup, data = setup.with_data()
    method = setup.build_method(data, device)
    setup.check_graphs(method)
    require_no_single_image(method, data)
    if setup.run.resume is not None:
        setup.check_resume(Path(setup.run.resume) / STATE, data)
    record(run, setup)
    return (Prepared(setup, device, data, method),)


def prepare_evaluation(run: Run, source: "Record | None" = None) -> tuple[Prepared]:
    """`source` is the run whose weights are evaluated, where it was named as such."""
    from debiaslab.commands.evaluated_runs import evaluation_data
    from debiaslab.commands.weights import load_weights

    setup = check(run.config)
    if setup.run.resume is not None:
        raise UserError(f"resume={setup.run.resume} resumes a training; leave it out to evaluate weights")
    device = setup.device()
    setup, data = setup.with_data() if source is None else (setup, evaluation_data(setup, source))
    method = setup.build_method(data, device, pretrained=False)
    weights = load_weights(setup, method, data)
    record(run, setup)
    return (Prepared(setup, device, data, method, weights),)


def prepare_inspection(run: Run) -> tuple[dict[str, Any]]:
    check_data(run.config)  # independent of the method
    return (run.config,)


def prepare_printing(run: Run) -> tuple[()]:
    check(run.config)
    return ()


# command -> function that prepares it, and returns the arguments of the command
PREPARATIONS: Mapping[str, Callable[[Run], tuple[Any, ...]]] = {
    "train": prepare_training,
    "evaluate": prepare_evaluation,
    "inspect": prepare_inspection,
    "print_config": prepare_printing,
    "save_config": prepare_printing,
}


def record(run: Run, setup: Setup) -> None:
    """Attach observers that record `run` with the settings of `setup`. Raises `UserError` if that is impossible.

    Of several processes of a run, number 0 records it.
    """
    ranks = of_this_process()
    if ranks is not None:
        ranks.wait()  # until all have found that they can start
        if ranks.rank > 0:
            run.config, run.observers = dict(setup.config), []
            return
    require_writable(Path(setup.run.log_dir), "log_dir")
    mongo = mongo_from_environment()
    run.config = dict(setup.config)
    run.observers = [FileRecord(setup.run.log_dir), *([mongo] if mongo else [])]


def record_folder(run: Run) -> Path | None:
    """The run's folder; None for an unrecorded run (-u), or before recording starts."""
    files = (observer for observer in run.observers if isinstance(observer, FileRecord))
    return next((Path(observer.dir).absolute() for observer in files if observer.dir is not None), None)
