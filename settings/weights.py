"""The metadata of weight files, and loading weights into a method."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import Method
from debiaslab.models.pretrained import CHOICES, NONE, InitialWeights, PublishedWeights, RunWeights, mismatch, names_run
from debiaslab.training.checkpoint import SELECTED, read_checkpoint, without_prefix

INPUT = "input"  # key of the facts about the input images


def input_facts(data: BiasedDataset) -> dict[str, Any]:
    """What is needed to predict with weights: the shape of images, the class names, the preprocessing."""
    preprocessing = data.preprocessing()
    return {
        "shape": list(data.test.image_shape),
        "classes": data.class_labels(),
        "preprocessing": None if preprocessing is None else preprocessing.facts(),
    }


def require_same_input(path: Path, given: Mapping[str, Any], data: BiasedDataset) -> None:
    """Raise `UserError` if the weights in `path`, with the input facts `given`, are for other images than `data`."""
    own = input_facts(data)
    for kind, words in (("classes", "classes"), ("shape", "images of the shape")):
        known = list(given[kind])
        if known and own[kind] != known:
            raise UserError(f"{path} is for {words} {known}, not {own[kind]}; give the settings of its run")
    before, now = given["preprocessing"], own["preprocessing"]
    for kind in ("prepare", "normalize"):
        if before is not None and now is not None and before[kind] != now[kind]:
            raise UserError(
                f"{path} is for images made by {kind}={before[kind]}, not {now[kind]}; give the settings of its run"
            )


def initial_weights(source: str, log_dir: str) -> InitialWeights | None:
    """The weights that `model.pretrained=source` names; runs are in `log_dir` or MongoDB. None for "none".

    Raises `UserError` for a run that is not there, or whose classifier has no single encoder.
    """
    if source == NONE:
        return None
    if not names_run(source):
        return PublishedWeights(source)
    from debiaslab.commands.named_runs import find_one_run  # imported here: they need this module
    from debiaslab.prediction.encoder import encoder_weights

    try:
        record = find_one_run(source, log_dir, exact=True)
        return RunWeights(record.id, encoder_weights(record))
    except UserError as error:
        raise UserError(f"model.pretrained={source}: {error} ({CHOICES})") from None


def start_from(source: Path, method: Method) -> None:
    """Load the weights of a run into `method`, which is to be trained further.

    `source` is the run's folder, for the weights by its rule, or a file. Layers whose size depends on the number
    of classes keep their initial values if it differs. Raises `UserError` for missing weights, or those of other
    networks. A method that declares `starts_from_classifier` takes the classifier of a run of any method.
    """
    if method.starts_from_classifier and source.is_dir():
        start_from_classifier(source, method)
        return
    path = source / SELECTED if source.is_dir() else source
    tensors, facts = read_checkpoint(path)
    of = (facts.get("architecture") or {}).get("method.name")
    own, found = method.weights(), method.weights(without_prefix("method", tensors))
    differing = [name for name in own if name not in found or own[name].shape[1:] != found[name].shape[1:]]
    if of is None or differing or found.keys() - own.keys():
        what = f"method={of}" if of is not None else "a run that is not complete"
        where = f" (its {differing[0]} is of another size, or not there)" if differing else ""
        raise UserError(f"start_from={source}: weights of {what}, and of other networks{where}; name another run")
    method.load_weights(own | {name: found[name] for name in own if own[name].shape == found[name].shape})


def start_from_classifier(folder: Path, method: Method) -> None:
    """Load the classifier of the run in `folder`, of any method, into that of `method`. Raises `UserError`."""
    from debiaslab.commands.named_runs import find_one_run  # imported here: they need this module
    from debiaslab.prediction.encoder import classifier_weights

    record = find_one_run(str(folder), str(folder.parent), exact=True)
    found = classifier_weights(record)
    classifier = method.get_submodule("classifier")
    if problem := mismatch(classifier.state_dict(), found):
        raise UserError(f"start_from={folder}: the classifier of the run is of other networks: it {problem}")
    classifier.load_state_dict(found)


def load_weights(path: Path, method: Method) -> dict[str, Any]:
    """Load the weights in `path` into `method` and return the facts about them.

    Raises `UserError` if they are missing, damaged or of other networks.
    """
    tensors, facts = read_checkpoint(path)
    try:
        method.load_weights(without_prefix("method", tensors))
    except RuntimeError as error:
        problem = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{path} does not fit these settings: {problem}; give those of its run") from None
    return facts
