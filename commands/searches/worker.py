"""One worker of a search: it runs trials, some at a time, until as many as wanted are done."""

import os
import time
from pathlib import Path

import psutil

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import Query
from debiaslab.analysis.records import Record
from debiaslab.analysis.search import objective_of
from debiaslab.analysis.tables import format_value
from debiaslab.commands.searches.plan import Plan
from debiaslab.commands.searches.trials import Trial, Trials
from debiaslab.core.errors import UserError
from debiaslab.recording.children import TERMINATION_SECONDS, Children, Ended, noted_interruption
from debiaslab.recording.observers import new_run_id

POLL_SECONDS = 0.2
LOOK_SECONDS = 30  # look for trials that other workers have left
MOST_DEATHS = 3  # of trials one after the other, before the worker gives up
DIVERGED, REFUSED = 1, 2  # exit codes of a run (`recording.command_line`)


class Worker:
    """Runs trials of `plan`. `how_to_go_on` is the command that does."""

    def __init__(self, plan: Plan, trials: Trials, how_to_go_on: str) -> None:
        self.plan, self.trials, self.how_to_go_on = plan, trials, how_to_go_on
        self.started: dict[str, Trial] = {}  # by the id of the run
        self.deaths = 0

    def work(self) -> None:
        """Run trials until no more are wanted. Raises `UserError` if they cannot be run, `KeyboardInterrupt` with the
        command that goes on after Ctrl-C; then the trials that were running are left to be run again."""
        jobs = self.plan.words.jobs
        threads = None if "OMP_NUM_THREADS" in os.environ else max(1, (os.cpu_count() or 1) // jobs)
        with noted_interruption() as interruption, Children(threads) as children:
            try:
                look_again = time.monotonic()
                while not interruption.requested:
                    if time.monotonic() >= look_again:
                        self._take_from_the_dead()
                        self._start(children, jobs)
                        look_again = time.monotonic() + LOOK_SECONDS
                    if not children.running:
                        return
                    time.sleep(POLL_SECONDS)
                    self.trials.beat()
                    for ended in children.ended():
                        self._conclude(ended)
                        look_again = time.monotonic()
            finally:
                for ended in children.terminate():
                    self._conclude(ended, stopped=True)
        raise KeyboardInterrupt(f"interrupted; to go on: {self.how_to_go_on}")

    def _start(self, children: Children, jobs: int) -> None:
        while len(children.running) < jobs:
            run_id = new_run_id()
            trial = self.trials.next(run_id)
            if trial is None:
                return
            self.started[run_id] = trial
            children.start(self.plan.trial_words(trial.number, trial.values), run_id)

    def _conclude(self, ended: Ended, stopped: bool = False) -> None:
        """Tell the others what became of a trial. Raises `UserError` if no further trial would fare better."""
        trial = self.started.pop(ended.run_id)
        value = self._value(ended.run_id) if ended.code == 0 else None
        if value is not None:
            self.trials.complete(trial.number, value)
            self._say(trial, f"{self.plan.objective} {100 * value:.2f}", f"recorded in {self._folder(ended.run_id)}")
        elif ended.code in (0, DIVERGED):
            reason = ended.last_line if ended.code else f"no {self.plan.objective} in {self._folder(ended.run_id)}"
            self.trials.failed(trial.number, reason)
            self._say(trial, f"failed: {reason}")
        else:
            self.trials.again(trial)
            if not stopped:
                self._die(trial, ended)
            return
        self.deaths = 0

    def _die(self, trial: Trial, ended: Ended) -> None:
        if ended.code == REFUSED:
            raise UserError(f"trial {trial.number} cannot be run: {ended.last_line.removeprefix('error: ')}")
        self.deaths += 1
        cause = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
        self._say(trial, f"ended by {cause}; it will be run again")
        if self.deaths == MOST_DEATHS:
            raise UserError(
                f"{self.deaths} trials one after the other were ended by {cause} (short of memory?);"
                f" to go on: {self.how_to_go_on}"
            )

    def _take_from_the_dead(self) -> None:
        """Trials of workers that died: those whose run came to its end are complete, the others are run again."""
        for trial in self.trials.dead():
            if trial.run_id is not None:
                end_run(trial.run_id)
            value = None if trial.run_id is None else self._value(trial.run_id)
            if value is None:
                self.trials.again(trial)
                self._say(trial, "its worker died; it will be run again")
            else:
                self.trials.complete(trial.number, value)
                self._say(trial, f"{self.plan.objective} {100 * value:.2f}", "its worker died, but not the run")

    def _value(self, run_id: str) -> float | None:
        record = self._record(run_id)
        return None if record is None else objective_of(record)

    def _record(self, run_id: str) -> Record | None:
        folder = self.plan.log_dir
        found = FileStore(folder).find(Query({}, ids=[run_id])) if folder.is_dir() else []
        return found[0] if found else None

    def _folder(self, run_id: str) -> Path:
        return self.plan.log_dir / run_id

    def _say(self, trial: Trial, *what: str) -> None:
        settings = " ".join(f"{name}={format_value(value)}" for name, value in trial.values.items())
        best = self.trials.best()
        so_far = [] if best is None else [f"best {100 * best[1]:.2f} of trial {best[0]}"]
        print(f"trial {trial.number} ({settings}): {'; '.join([*what, *so_far])}", flush=True)


def end_run(run_id: str) -> None:
    """End the process on this machine, if there is one, that is recorded under `run_id`: its parent has died."""
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
