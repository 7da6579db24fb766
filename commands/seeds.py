"""`python main.py with WORDS seeds=5`: one configuration with several seeds, each a run of its own.

seeds=5 are five from `seed=` (default 1) on; seeds=1,4,7 and seeds=1-5 name them. It is a study of one method: what
is done is skipped, what was killed is resumed. jobs=N runs at a time (default: one per core of the CPU; one on a
GPU); together=True trains them as one in one process, False in processes of their own, auto (the default) what a
short measurement finds faster.
"""

import os
from collections.abc import Sequence

from debiaslab.commands.studies.words import NO_SEEDS, OF_RESULTS, OWN, read_study
from debiaslab.commands.study import carry_out
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.recording.configuration import configuration
from debiaslab.training.device import choose_device

SEVERAL = ("methods", "variants")  # words of a study
WORDS = (*OWN, *OF_RESULTS)


def answer(updates: Sequence[str]) -> int:
    """Run all; the exit code is 1 if one of them failed. Raises `UserError`, before any run starts."""
    names = [update.partition("=")[0] for update in updates]
    if "seeds" not in names:
        raise UserError(NO_SEEDS)
    for name in SEVERAL:
        if name in names:
            raise UserError(f"{name}= is a word of a study: python main.py study with ...")
    config = configuration(ex, [update for update in updates if update.partition("=")[0] not in WORDS])
    own = [f"methods={config['method']['name']}"]
    if "together" not in names:
        own.append("together=auto")
    if "jobs" not in names:
        own.append(f"jobs={1 if choose_device(config['device']).type == 'cuda' else os.cpu_count() or 1}")
    return carry_out(read_study([*updates, *own]))
