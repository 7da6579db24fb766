"""The trials of a search, in a database shared by several workers."""

import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from debiaslab.commands.searches.database import one_at_a_time, open_study
from debiaslab.commands.searches.plan import Plan
from debiaslab.commands.searches.sampling import FAILED, SURPLUS, PerTrial, distribution, is_counted, sampler_for
from debiaslab.commands.searches.space import Value

BEAT_SECONDS = 30  # interval of a worker's heartbeats
GRACE_SECONDS = 600  # a worker on another machine without a heartbeat for this time, by the local clock, has died
WORKER, REPEATS = "worker", "repeats"  # attributes of a trial: its worker; the trial that it repeats


@dataclass(frozen=True)
class Trial:
    """A trial to run: its number in the search, and the value of every searched setting.

    `repeats`: another worker was running the same point, and died.
    """

    number: int
    values: Mapping[str, Value]
    repeats: bool = False


@dataclass(frozen=True, kw_only=True)
class DeadTrial(Trial):
    """A trial whose worker has died. `run_id` is None if the worker died before it started the run."""

    run_id: str | None


@dataclass(frozen=True)
class Sign:
    """The last heartbeat of a worker, when it was first seen here, and whether it has changed before."""

    worker: Any
    seen: float  # time.monotonic
    changed: bool = False


class Trials:
    """The trials of `plan`."""

    def __init__(self, plan: Plan, create: bool = True) -> None:
        """Raises `UserError` if the database cannot be used, contains another search of this name or, unless
        `create`, does not contain the search."""
        self.plan = plan
        self.study = open_study(plan, create)
        self.study.sampler = PerTrial(sampler_for(plan))
        self.mine: dict[int, optuna.Trial] = {}  # trials of this worker
        self.last_beat = time.monotonic()
        self.signs: dict[int, Sign] = {}  # heartbeats of other workers, by trial number

    def next(self, run_id: str) -> Trial | None:
        """The next trial, to be run with the id `run_id`; None if enough trials are finished or running."""
        with one_at_a_time(self.plan.storage):
            if len(self._counted()) >= self.plan.num_trials:
                return None
            trial = self.study.ask({range_.setting: distribution(range_) for range_ in self.plan.space})
        trial.set_user_attr(WORKER, this_process() | {"run": run_id, "beat": 0})
        if sum(other.number < trial.number for other in self._counted()) >= self.plan.num_trials:
            trial.set_user_attr(SURPLUS, True)  # another worker took the last one at the same moment
            self._finish(trial.number, TrialState.FAIL)
            return None
        self.mine[trial.number] = trial
        return Trial(trial.number, trial.params, repeats=REPEATS in trial.user_attrs)

    def complete(self, number: int, value: float) -> None:
        self.mine.pop(number, None)
        self._finish(number, TrialState.COMPLETE, value)

    def fail(self, number: int, reason: str) -> None:
        """Mark a trial as failed: it ran without giving a value, counts, and is not repeated."""
        self._mark(self.mine.pop(number), FAILED, reason)
        self._finish(number, TrialState.FAIL)

    def give_back(self, trial: Trial) -> None:
        """Return a trial that did not finish: it does not count, and is run again under another number."""
        self.mine.pop(trial.number, None)
        has_point = len(trial.values) == len(self.plan.space)  # incomplete if its worker died while it was drawn
        with one_at_a_time(self.plan.storage):  # or another worker could draw a new point in between
            if self._tell(trial.number, TrialState.FAIL) and has_point:
                self.study.enqueue_trial(dict(trial.values), user_attrs={REPEATS: trial.number})

    def dead(self) -> list[DeadTrial]:
        """The trials whose workers have died."""
        found = [trial for trial in self._others() if self._is_alive(trial) is False]
        return [
            DeadTrial(trial.number, trial.params, run_id=trial.user_attrs.get(WORKER, {}).get("run")) for trial in found
        ]

    def uncertain(self) -> bool:
        """Whether there is a trial of which it is not known yet whether its worker is alive."""
        return any(self._is_alive(trial) is None for trial in self._others())

    def elsewhere(self) -> bool:
        """Whether other workers are running trials."""
        return bool(self._others())

    def beat(self) -> None:
        """Write a heartbeat for other workers, at most every `BEAT_SECONDS`."""
        if time.monotonic() - self.last_beat < BEAT_SECONDS:
            return
        self.last_beat = time.monotonic()
        for trial in self.mine.values():
            worker = trial.user_attrs[WORKER]
            self._mark(trial, WORKER, worker | {"beat": worker["beat"] + 1})

    def counts(self) -> dict[str, int]:
        """The numbers of trials that are "complete", "failed", "running", and "again": waiting to be run again."""
        trials = self.study.get_trials(deepcopy=False)
        of_state = {state: sum(trial.state == state for trial in trials) for state in TrialState}
        failed = sum(FAILED in trial.user_attrs for trial in trials if trial.state == TrialState.FAIL)
        complete, running = of_state[TrialState.COMPLETE], of_state[TrialState.RUNNING]
        return {"complete": complete, "failed": failed, "running": running, "again": of_state[TrialState.WAITING]}

    def progress(self) -> str:
        """The same as text, such as "3 complete, 1 running"; empty if there is no trial."""
        return ", ".join(f"{count} {what}" for what, count in self.counts().items() if count)

    def are_done(self) -> bool:
        """Whether as many trials have ended as the plan asks for."""
        counts = self.counts()
        return counts["complete"] + counts["failed"] >= self.plan.num_trials

    def best(self) -> tuple[int, float] | None:
        """Number and value of the best trial, the first one in a tie; None if none is complete."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        values = {trial.number: trial.value for trial in complete if trial.value is not None}
        return min(values.items(), key=lambda item: (-item[1], item[0]), default=None)

    def best_values(self) -> dict[str, Value] | None:
        """The searched settings of the best of the first trials that the plan asks for, the first one in a tie.

        None if none of them is complete. Those that a larger number added later do not count.
        """
        first = sorted(self._counted(), key=lambda trial: trial.number)[: self.plan.num_trials]
        complete = [trial for trial in first if trial.value is not None]
        return dict(max(complete, key=lambda trial: trial.value or 0.0).params) if complete else None

    def _others(self) -> list[FrozenTrial]:
        """The running trials of other workers."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if trial.number not in self.mine]

    def _is_alive(self, trial: FrozenTrial) -> bool | None:
        """Whether the worker of a trial is alive; None while that is unknown.

        A worker on another machine is alive if its heartbeat changes. Its clock may differ from ours and is not used.
        """
        worker = trial.user_attrs.get(WORKER)
        if worker is not None and worker["machine"] == this_process()["machine"]:
            return is_running(worker["process"], worker["since"])
        now = time.monotonic()
        sign = self.signs.setdefault(trial.number, Sign(worker, now))
        if worker != sign.worker:
            self.signs[trial.number] = sign = Sign(worker, now, changed=True)
        if now - sign.seen >= GRACE_SECONDS:
            return False
        return True if sign.changed else None

    def _counted(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if is_counted(trial)]

    def _mark(self, trial: optuna.Trial, name: str, value: Any) -> None:
        """Set an attribute of a trial, unless another worker has returned the trial."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            trial.set_user_attr(name, value)

    def _finish(self, number: int, state: TrialState, value: float | None = None) -> None:
        with one_at_a_time(self.plan.storage):
            self._tell(number, state, value)

    def _tell(self, number: int, state: TrialState, value: float | None = None) -> bool:
        """False if another worker has finished the trial before, as it considered its worker dead."""
        try:
            self.study.tell(number, value, state)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            return False
        return True


# ---- workers


def this_process() -> dict[str, Any]:
    """Identify this process among all machines. Containers may share the name of a machine."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    process = psutil.Process()
    return {"machine": f"{platform.node()} {space}", "process": process.pid, "since": process.create_time()}


def is_running(process_id: int, since: float) -> bool:
    """Whether the process with this id on this machine started at `since` and is still running."""
    try:
        process = psutil.Process(process_id)
        same = abs(process.create_time() - since) < 1
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)  # killed, but not reaped
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True
