"""`python main.py with WORDS seeds=5`: one configuration with several seeds, each a separate run.

It is a study of one method: completed runs are skipped, killed ones resumed. By default there is one parallel run per
CPU core (one on a GPU), and together=auto trains them as one if a short measurement shows that this is faster.

Examples:
  python main.py with colored_mnist severity4 skewed4 method=denetdm seeds=5
"""

from collections.abc import Sequence

from debiaslab.commands.parallel import jobs_that_pay, num_cores
from debiaslab.commands.studies.words import NO_SEEDS, StudyWords, read_study
from debiaslab.commands.study import run_study
from debiaslab.commands.words import read_words
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.core.program import program_name
from debiaslab.recording.configuration import configuration
from debiaslab.training.device import choose_device

SEVERAL = ("methods", "variants")  # options of a study
WORDS = StudyWords


def run(updates: Sequence[str]) -> int:
    """Start all runs; returns 1 if one of them failed. Raises `UserError` before any run starts."""
    names = [update.partition("=")[0] for update in updates]
    if "seeds" not in names:
        raise UserError(NO_SEEDS)
    for name in SEVERAL:
        if name in names:
            raise UserError(f"{name}= is an option of a study: {program_name()} study with ...")
    config = configuration(ex, read_words(StudyWords, updates)[1])
    own = [f"methods={config['method']['name']}"]
    if "together" not in names:
        own.append("together=auto")
    if "jobs" not in names:
        own.append(f"jobs={num_cores() if choose_device(config['device']).type == 'cpu' else jobs_that_pay([config])}")
    return run_study(read_study([*updates, *own]))
