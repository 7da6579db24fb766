"""Debiasing methods for image classifiers: the repository's folders as one package.

In a clone, this folder holds links to the top level, so that `from debiaslab.methods import METHODS` means the same
there and where the package is installed.
"""

TYPE_CHECKING = False  # as type checkers know it; the module typing would take most of the time of the import
if TYPE_CHECKING:
    from os import PathLike

    from debiaslab.prediction.classifier import TrainedClassifier

__version__ = "0.1.0"


def load(run: "str | PathLike[str]", rule: str | None = None, log_dir: str = "runs") -> "TrainedClassifier":
    """The classifier that a recorded run has trained: a module on the CPU, in eval mode, from images to logits.

    `run` is an id (in MongoDB, if `DEBIAS_MONGO_URL` names one, or in `log_dir`) or a folder. `rule` chose the weights:
    "last", or the run's setting `selection` (None). It has `preprocess`, from an image or a file to what the network
    takes, and `class_names`. Raises `debiaslab.core.errors.UserError` for a run that is not there or has no weights.
    """
    from debiaslab.commands.named_runs import find_one_run  # imported here: `import debiaslab` takes no time
    from debiaslab.prediction.classifier import restore_classifier

    return restore_classifier(find_one_run(str(run), log_dir), rule)
