"""Command line: train or evaluate a debiasing method, with a permanent record.

python main.py with colored_mnist severity4 method=denetdm
python main.py with colored_mnist severity4 method=denetdm seeds=5            (five runs)
python main.py inspect with colored_mnist               show a data set, and which of its files are missing
python main.py evaluate with colored_mnist severity4 method=denetdm checkpoint=runs/ID
python main.py results with colored_mnist severity4      (recorded results as a table)
python main.py predict RUN with images=FOLDER            classes and probabilities of any images, as a CSV
python main.py export_model RUN --out FOLDER            its classifier in ONNX and for PyTorch, with a model card
python main.py compare RUN RUN                           all accuracies of recorded runs, given by id or folder
python main.py rerun RUN                                 repeat a recorded run, and compare the results
python main.py -m HOST:PORT:DB sync                      copy file records into MongoDB
python main.py study with colored_mnist published methods=erm,lff variants=skewed1,skewed4 seeds=1-3 jobs=2
python main.py search with biased_mnist rho997 method=end                 (the best hyper-parameters)
python main.py plots with colored_mnist severity4        (figures of the results)
python main.py report --out DIR                         (the results as an HTML page; export: for TensorBoard)
python main.py print_config with ...      python main.py print_named_configs      python main.py --help
"""

import sys

if __name__ == "__main__":  # sets up the process, then imports this module as debiaslab.main
    from debiaslab.__main__ import main

    sys.exit(main())

from debiaslab import commands
from debiaslab.commands import evaluate as _evaluate  # noqa: F401 (a command of the experiment)
from debiaslab.commands import inspect as _inspect  # noqa: F401
from debiaslab.commands import train as _train  # noqa: F401
from debiaslab.commands.runs import prepare
from debiaslab.config import ex, set_up_sacred
from debiaslab.core.process import set_up_torch
from debiaslab.recording.command_line import run_command_line

ex.doc = __doc__  # what --help shows


def run(arguments: list[str]) -> int:
    """Run the command line `arguments` and return the exit code."""
    set_up_torch()
    set_up_sacred()
    return run_command_line(ex, commands.for_parser(arguments), prepare, commands)
