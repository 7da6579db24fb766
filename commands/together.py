"""`python main.py together with WORDS seeds=1-5`: runs that differ only in their seed, trained as one.

They share a process, but each has its own record, evaluations, and a state to resume from separately. `seeds=5` with
the words of a run chooses the faster of this and separate processes (`docs/studies.md`); `ids=A,B,...` are the ids of
the runs.
"""

import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from debiaslab.commands.ranks import TOGETHER
from debiaslab.commands.runs import prepare
from debiaslab.commands.studies.words import NO_SEEDS
from debiaslab.commands.words import read_list, read_number, read_seeds, read_words, word
from debiaslab.config import ex
from debiaslab.core.errors import TrainingDiverged, UserError
from debiaslab.lockstep.together import fit_together
from debiaslab.recording.command_line import command_line_of, require_run_id
from debiaslab.recording.configuration import configuration
from debiaslab.recording.observers import new_run_id
from debiaslab.recording.updates import read_updates
from debiaslab.settings.setup import check
from debiaslab.training.loop import Trained, Trainer


@dataclass(frozen=True, kw_only=True)
class TogetherWords:
    seed: int | None = word("the first seed, if seeds= is a number", read=read_number)
    seeds: str | None = word("1,2,3 or 1-5, or the number of seeds")
    ids: tuple[str, ...] | None = word("ids of the runs: A,B", read=read_list)


WORDS = TogetherWords


def run(updates: Sequence[str]) -> int:
    """Train all runs; returns 1 if one of them failed. Raises `UserError` for wrong words."""
    own, words = read_words(TogetherWords, updates)
    if own.seeds is None:
        raise UserError(NO_SEEDS)
    seeds = read_seeds(own.seeds, own.seed)
    ids = own.ids or tuple(new_run_id() for _ in seeds)
    if len(ids) != len(seeds):
        raise UserError(f"ids={','.join(ids)}: {len(ids)} ids for {len(seeds)} seeds")
    for run_id in ids:
        require_run_id("ids", run_id)
    if check(configuration(ex, words)).run.ranks > 1:  # reports mistakes once
        raise UserError(TOGETHER)
    runs = Together(words, list(zip(seeds, ids, strict=True)))
    try:
        runs.start()
    except KeyboardInterrupt:
        again = command_line_of(None, [*words, f"seeds={','.join(map(str, seeds))}"])
        raise KeyboardInterrupt(f"interrupted; to resume: {again}") from None
    return 1 if runs.failed else 0


class Together:
    """Starts runs that wait for each other before training, and are then trained as one.

    Each run starts the next one before it trains, so that it stays open in Sacred until the later ones have ended.
    """

    def __init__(self, words: Sequence[str], runs: Sequence[tuple[int, str]]) -> None:
        """`words` are common to all runs; `runs` are their seeds and ids."""
        self.words, self.waiting = words, list(runs)
        self.out, self.err = sys.stdout, sys.stderr  # each run records only its own output
        self.trainers: list[Trainer] = []
        self.outcomes: list[Trained | UserError | TrainingDiverged] = []
        self.failed = False

    def start(self) -> None:
        """Start the waiting runs. An error in one of them is printed, and does not stop the others."""
        while self.waiting:
            seed, run_id = self.waiting.pop(0)
            own = [*self.words, f"seed={seed}"]
            settings, named_configs = read_updates(ex, own)
            try:
                with redirect_stdout(self.out), redirect_stderr(self.err):
                    prepare("train", settings, named_configs, options={"--id": run_id, "UPDATE": own}).start(self.fit)
            except (UserError, TrainingDiverged) as error:
                self.failed = True
                print(f"seed {seed}: {error}", file=self.err)

    def fit(self, trainer: Trainer) -> Trained:
        """`trainer.fit()`, together with all others. Raises the error of this run."""
        place = len(self.trainers)
        self.trainers.append(trainer)
        self.start()
        if place == len(self.trainers) - 1:  # this is the last one
            self.outcomes = fit_together(self.trainers)
        outcome = self.outcomes[place]
        if isinstance(outcome, Trained):
            print(f"seed {trainer.options.seed}")
            return outcome
        raise outcome
