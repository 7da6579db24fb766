"""A worker of a search: runs trials, several in parallel, until enough are finished."""

import os
import time
from pathlib import Path

import psutil

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import Query, parse_literal
from debiaslab.analysis.search import objective_of
from debiaslab.analysis.table_names import format_value
from debiaslab.commands.searches.plan import Plan
from debiaslab.commands.searches.trials import Trial, Trials
from debiaslab.core.errors import UserError
from debiaslab.recording.launcher import OUTPUTS, TERMINATION_SECONDS, Handle, Launcher, Outcome, supervise
from debiaslab.recording.observers import new_run_id

LOOK_SECONDS = 30  # interval of checks for trials of dead workers
MOST_DEATHS = 3  # consecutive deaths of trials before the worker gives up
DIVERGED, REFUSED = 1, 2  # exit codes of a run (`recording.command_line`)


class Worker:
    """Runs trials of `plan`. `resume_command` is the command line that continues the search.

    `waits`: it also waits for the trials of other workers, so that the search is complete in the end.
    """

    def __init__(
        self, plan: Plan, trials: Trials, launcher: Launcher, resume_command: str, waits: bool = False
    ) -> None:
        self.plan, self.trials, self.launcher, self.resume_command = plan, trials, launcher, resume_command
        self.waits = waits
        jobs = plan.words.jobs
        self.threads = None if "OMP_NUM_THREADS" in os.environ else max(1, (os.cpu_count() or 1) // jobs)
        self.running: dict[Handle, tuple[Trial, str]] = {}  # trial and id of its run
        self.deaths = 0
        self.look_again = time.monotonic()

    def work(self) -> None:
        """Run trials until enough are finished. Raises `UserError` if they cannot run. After a signal, raises
        `KeyboardInterrupt` with the command that resumes; trials that were running will be run again."""
        try:
            supervise(self.launcher, self)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; to resume: {self.resume_command}") from None

    def advance(self) -> bool:
        if time.monotonic() >= self.look_again:
            self._take_from_the_dead()
            self._start()
            self.look_again = time.monotonic() + LOOK_SECONDS
        self.trials.beat()
        return bool(self.running or (self.trials.elsewhere() if self.waits else self.trials.uncertain()))

    def stopping(self) -> None:
        if self.running:
            print(f"stopping {len(self.running)} of the trials", flush=True)

    def _start(self) -> None:
        while len(self.running) < self.plan.words.jobs:
            run_id = new_run_id()
            trial = self.trials.next(run_id)
            if trial is None:
                return
            if trial.repeats and self._take_recorded(trial):
                continue
            arguments = ["with", *self.plan.trial_words(trial.number, trial.values), f"--id={run_id}"]
            handle = self.launcher.start(arguments, self.plan.log_dir / OUTPUTS / f"{run_id}.txt", self.threads)
            self.running[handle] = trial, run_id

    def conclude(self, handle: Handle, outcome: Outcome, stopped: bool = False) -> None:
        """Report the outcome of a trial to the database. Raises `UserError` if further trials would fail as well."""
        trial, run_id = self.running.pop(handle)
        self.look_again = time.monotonic()
        value = self._value(run_id)  # the run may be complete even if its process was killed afterwards
        if value is not None:
            self.trials.complete(trial.number, value)
            self._say(trial, f"{self.plan.objective} {100 * value:.2f}", f"recorded in {self._folder(run_id)}")
        elif outcome.code in (0, DIVERGED):
            reason = outcome.last_line() if outcome.code else f"no {self.plan.objective} in {self._folder(run_id)}"
            self.trials.fail(trial.number, reason)
            self._say(trial, f"failed: {reason}")
        else:
            self.trials.give_back(trial)
            if not stopped:
                self._die(trial, outcome)
            return
        self.deaths = 0

    def _die(self, trial: Trial, outcome: Outcome) -> None:
        if outcome.code == REFUSED:
            reason = outcome.last_line().removeprefix("error: ") or f"cannot write {outcome.output}; free the disk"
            raise UserError(f"trial {trial.number} cannot be run: {reason}; to resume: {self.resume_command}")
        self.deaths += 1
        self._say(trial, f"{outcome.cause}; it will be run again")
        if self.deaths == MOST_DEATHS:
            raise UserError(
                f"{self.deaths} consecutive trials died, {outcome.cause} (short of memory?);"
                f" to resume: {self.resume_command}"
            )

    def _take_from_the_dead(self) -> None:
        """Use the results of completed runs whose workers have died; run the other trials again."""
        for trial in self.trials.dead():
            if trial.run_id is not None:
                end_run(trial.run_id)
            value = None if trial.run_id is None else self._value(trial.run_id)
            if value is None:
                self.trials.give_back(trial)
                self._say(trial, "its worker died; it will be run again")
            else:
                self.trials.complete(trial.number, value)
                self._say(trial, f"{self.plan.objective} {100 * value:.2f}", "its worker died, but not the run")

    def _take_recorded(self, trial: Trial) -> bool:
        """Use the result of a completed run of this point, if any: its worker was mistaken for dead."""
        settings = {name: parse_literal(str(value)) for name, value in trial.values.items()}
        found = self._find(Query({"search": self.plan.name} | settings))
        if found is not None:
            run_id, value = found
            self.trials.complete(trial.number, value)
            self._say(trial, f"{self.plan.objective} {100 * value:.2f}", f"was recorded in {self._folder(run_id)}")
        return found is not None

    def _value(self, run_id: str) -> float | None:
        """The objective of the run; None if it is not complete, or has no value."""
        found = self._find(Query({}, ids=[run_id]))
        return None if found is None else found[1]

    def _find(self, query: Query) -> tuple[str, float] | None:
        """(id, value) of the first completed run with a value."""
        if not self.plan.log_dir.is_dir():
            return None
        try:
            records = FileStore(self.plan.log_dir).find(query)
        except UserError:  # no run has such a setting
            return None
        values = ((record.id, objective_of(record)) for record in records)
        return next(((run_id, value) for run_id, value in values if value is not None), None)

    def _folder(self, run_id: str) -> Path:
        return self.plan.log_dir / run_id

    def _say(self, trial: Trial, *what: str) -> None:
        settings = " ".join(f"{name}={format_value(value)}" for name, value in trial.values.items())
        best = self.trials.best()
        so_far = [] if best is None else [f"best {100 * best[1]:.2f} of trial {best[0]}"]
        print(f"trial {trial.number} ({settings}): {'; '.join([*what, *so_far])}", flush=True)


def end_run(run_id: str) -> None:
    """Terminate the process of the run `run_id` on this machine, if it is still running: its parent has died."""
    for process in psutil.process_iter():
        try:
            if f"--id={run_id}" in process.cmdline():
                process.terminate()
                process.wait(TERMINATION_SECONDS)
        except psutil.NoSuchProcess:
            continue
        except psutil.TimeoutExpired:
            process.kill()
        except psutil.AccessDenied:
            continue
