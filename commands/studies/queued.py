"""Run jobs of a study through the queue of a cluster: submit them, and watch until the last has ended."""

from collections.abc import Sequence

from debiaslab.commands.studies.jobs import Job
from debiaslab.commands.studies.overview import Overview, Running
from debiaslab.commands.studies.recorded import Recorded, noted_run
from debiaslab.commands.studies.runner import Failure, is_complete, reason_of
from debiaslab.recording.launcher import OUTPUTS, Handle, Outcome, supervise
from debiaslab.recording.slurm import Slurm, tell_left, tell_submitted


class QueuedRunner:
    """Runs `jobs`, which are not done, as jobs of Slurm: the command `job`, with `own_words` of its own.

    `run` collects the ids of completed runs in `done`, by job key, and `failures`, as `Runner` does. The records tell
    what is done; Slurm is only asked what is in its queue.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        recorded: Recorded,
        slurm: Slurm,
        own_words: Sequence[str],
        *,
        again: bool,
        overview: Overview,
    ) -> None:
        self.jobs, self.recorded, self.slurm, self.own_words = jobs, recorded, slurm, own_words
        self.again, self.overview = again, overview
        self.queued: dict[Handle, Job] = {}
        self.running: dict[Handle, Running] = {}
        self.noted = {job.key: noted_run(job.log_dir, job.key) for job in jobs}  # the last run known of each
        self.done: dict[str, str] = {}
        self.failures: list[Failure] = []

    def run(self) -> None:
        """Submit all jobs that are not in the queue, and watch them. Raises `UserError` if Slurm refuses them.

        A signal ends the watching, but no job, and raises `KeyboardInterrupt`.
        """
        for job in self.jobs:
            output = job.log_dir / OUTPUTS / f"{job.name_in_queue}.txt"
            self.queued[self.slurm.start(["job", "with", *job.words, *self.own_words], output)] = job
        if self.jobs:
            self.overview.say(tell_submitted(self.slurm.submit(), "run"))
        with self.overview:
            supervise(self.slurm, self)

    def advance(self) -> bool:
        if self.slurm.has_looked():
            for handle, job in self.queued.items():
                self._follow(handle, job)
        self.overview.update(list(self.running.values()), len(self.queued) - len(self.running))
        return bool(self.queued)

    def _follow(self, handle: Handle, job: Job) -> None:
        """Tell if the run of a job has started, or has gone back into the queue."""
        place = self.slurm.place(handle)
        if place is None:
            return
        run_id = noted_run(job.log_dir, job.key) if place.running else None
        if handle in self.running and run_id != self.running[handle].run_id:
            self.overview.back_in_queue(self.running.pop(handle))
        if handle not in self.running and run_id not in (None, self.noted[job.key]):
            self.noted[job.key] = run_id
            self.running[handle] = Running(job, str(run_id), 0)
            self.overview.started(self.running[handle])

    def conclude(self, handle: Handle, outcome: Outcome, stopped: bool = False) -> None:
        job, run = self.queued.pop(handle), self.running.pop(handle, None)
        if run is not None and is_complete(job.log_dir / run.run_id):
            self.done[job.key] = run.run_id
            self.overview.finished(run)
            return
        state = self.recorded.state(job)
        if state.done is not None and state.settles(self.again):
            self.done[job.key] = state.done
            self.overview.done_elsewhere(job, self.recorded.place(state.done))
            return
        run = run or Running(job, job.name_in_queue, 0)
        failure = Failure(job, reason_of(run, outcome), outcome.output)
        self.failures.append(failure)
        self.overview.failed(run, failure.reason)

    def stopping(self) -> None:
        if self.queued:
            self.overview.say(tell_left(len(self.queued), "run"))
