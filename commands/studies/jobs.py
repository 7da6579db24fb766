"""The jobs of a study: runs with their full configuration, checked before any of them starts."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from debiaslab.commands.studies.words import StudyWords
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.lockstep.together import can_be_stacked
from debiaslab.methods import METHODS
from debiaslab.recording.configuration import as_recorded, unchecked_configuration
from debiaslab.settings.declared import result_settings
from debiaslab.settings.run import AUTO
from debiaslab.settings.setup import Setup, check, check_data, load_once
from debiaslab.training.batches import Batches

SIMPLE_DEVICES = ("auto", "cpu")  # need no check


@dataclass(frozen=True)
class Data:
    """Facts about a run that depend on its data; `steps` are its optimiser steps in all phases."""

    fingerprint: str
    splits: tuple[str, ...]  # the evaluated splits, and means and differences of them
    identity: Mapping[str, Any]  # as in the saved state of an unfinished run
    steps: int
    stackable: bool  # whether several such runs can be trained as one, at least in one phase


@dataclass(frozen=True)
class Job:
    """A run: the words that start it, its configuration, and the facts that depend on its data (`data`)."""

    method: str
    variant: str
    seed: int
    words: tuple[str, ...]
    setup: Setup
    data: Data | None = None
    typed_key: str | None = None  # its key before the data were loaded

    @property
    def tuned(self) -> int | None:
        """The number of trials that its settings are the best of; None for the default settings."""
        return self.setup.run.tuned

    @property
    def row(self) -> tuple[str, str, int | None]:
        """What jobs have in common that differ in their seed alone."""
        return self.method, self.variant, self.tuned

    @property
    def name(self) -> str:
        return self.method if self.tuned is None else f"{self.method}, tuned"

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.name, self.variant, f"seed {self.seed}") if part)

    @property
    def log_dir(self) -> Path:
        return Path(self.setup.run.log_dir)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that the result depends on, in the form of `settings_of`."""
        return settings_of(as_recorded(self.setup.config))

    @cached_property
    def key(self) -> str:
        """Identifies the job."""
        return key_of(self.settings)

    @property
    def name_in_queue(self) -> str:
        """Its key, whether the data have been loaded or not."""
        return self.typed_key or self.key

    @cached_property
    def open_settings(self) -> frozenset[str]:
        """The settings that are "auto" until the data have been loaded."""
        return frozenset(name for name, value in self.settings.items() if value == AUTO)


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recorded configuration that the result depends on, flat; 1.0 as 1."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return {name: plain(value) for name, value in result_settings(config).items()}


def key_of(settings: Mapping[str, Any]) -> str:
    """A hash of settings, 16 hex digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def jobs_of(study: StudyWords) -> list[Job]:
    """The jobs of `study`, by variant, seed and method. Raises `UserError` for an invalid one.

    The data are not loaded, and need not exist.
    """
    jobs = []
    for variant in study.variants:
        words = [*study.common, *(variant.split("+") if variant else [])]
        config = unchecked_configuration(ex, words)
        check_data(config)  # report mistakes that concern all methods without naming one
        dataset = config["data"]["name"]
        methods = study.methods or [name for name, method in METHODS.items() if dataset in method.RECIPES]
        configs = {method: configuration_of(method, variant, (*words, f"method={method}")) for method in methods}
        for seed in study.seeds:
            for method, config in configs.items():
                own = *words, f"method={method}", f"seed={seed}"
                jobs.append(make_job(method, variant, seed, own, {**config, "seed": seed}))
    if len({job.log_dir for job in jobs}) > 1:
        raise UserError("the variants have different folders of records; give one log_dir for all")
    different: dict[str, Job] = {}
    for job in jobs:
        different.setdefault(job.key, job)
    return list(different.values())


def make_job(
    method: str, variant: str, seed: int, words: tuple[str, ...], config: Mapping[str, Any] | None = None
) -> Job:
    """The job that `words` start, given the configuration that they make (None: computed from them, which takes most
    of the time). Raises `UserError`, with the method and variant."""
    with naming(method, variant):
        return Job(method, variant, seed, words, check(config or unchecked_configuration(ex, words)))


def configuration_of(method: str, variant: str, words: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of jobs with any seed. Raises `UserError`, with the method and variant."""
    with naming(method, variant):
        return unchecked_configuration(ex, words)


@contextmanager
def naming(method: str, variant: str) -> Iterator[None]:
    """Within the block, a `UserError` is preceded by the method and variant."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{' '.join(part for part in (method, variant) if part)}: {error}") from None


def with_data(jobs: Sequence[Job], run_here: bool = True) -> Iterator[Job]:
    """Load, or build and cache, the data of each variant once; yields the jobs with `data`.

    `run_here`: the runs need their device on this machine.

    Raises `UserError` if the data cannot be loaded, or data, method, networks and pretrained weights do not fit.
    """
    known: dict[tuple[str, str, int | None], tuple[str, int, bool]] = {}
    for job in jobs:
        if run_here and job.setup.run.device not in SIMPLE_DEVICES:
            job.setup.device()
        try:
            setup, data = job.setup.with_data()
            if job.row not in known:
                method = setup.build_method(data, torch.device("cpu"))
                setup.check_graphs(method)
                setup.check_ranks(run_here)
                phases = method.phases()
                steps = sum(Batches(data, phase, job.seed, method.needs_bias).num_steps for phase in phases)
                stackable = can_be_stacked(method) and setup.run.ranks == 1
                known[job.row] = data.fingerprint, steps, stackable
        except UserError as error:
            raise UserError(f"{job.label}: {error}") from None
        fingerprint, steps, stackable = known[job.row]
        splits = (*data.evaluation_splits(), *data.means, *data.differences)
        facts = Data(fingerprint, splits, setup.identity(data), steps, stackable)
        yield replace(job, setup=setup, data=facts, typed_key=job.name_in_queue)
    load_once.cache_clear()  # the runs read them in their own processes
