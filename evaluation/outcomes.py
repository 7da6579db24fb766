"""What a method predicts, and how sure it is: calibration, F1, and the fairness of its predictions, from small tables.

Kept are the predictions of every (target, bias) group, the confidences in bins, and the mean log loss; the metrics
follow from those.
"""

import binascii
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from math import isfinite, nan, prod
from typing import Any

import numpy
from numpy.typing import NDArray

from debiaslab.evaluation.metrics import is_difference

NUM_BINS = 15  # of confidences in [0, 1], each without its lower end (Guo et al., ICML 2017)
KINDS = ("aligned", "conflicting")  # of images, whose confidences are kept apart; one kind where that is not known
OUTCOME_METRICS = ("ece", "ece_conflicting", "nll", "f1", "demographic_parity", "equalised_odds")
LOWER_IS_BETTER = ("ece", "ece_conflicting", "nll", "demographic_parity", "equalised_odds")
IN_NATS = ("nll",)  # not in [0, 1]


def scale_of(metric: str) -> tuple[float, str]:
    """(factor, unit) in which a metric, with or without its split, is shown: percent, or nats."""
    return (1.0, "nats") if metric.rpartition("/")[2] in IN_NATS else (100.0, "%")


def is_lower_better(metric: str) -> bool:
    """Whether less is better of a metric, with or without its split, such as the difference of two splits."""
    split, _, name = metric.rpartition("/")
    return name in LOWER_IS_BETTER or is_difference(split)


@dataclass(frozen=True)
class Outcomes:
    """The predictions on one split.

    `predictions` int64 [num_classes, num_biases, num_classes]: images by target, bias and predicted class (one bias
    without bias labels). `bins` float64 [kinds, 3, NUM_BINS]: images, correct ones, and summed confidences, by the
    probability of the predicted class. `nll` is the mean of -log p(target), in nats; not-a-number if it is not finite.
    """

    predictions: NDArray[numpy.int64]
    bins: NDArray[numpy.float64]
    nll: float

    def metrics(self) -> dict[str, float]:
        """All of `OUTCOME_METRICS`; not-a-number where there are no such images or the bias is not known.

        `ece`: expected calibration error, |accuracy - mean confidence| over the bins, weighted by their images (Guo et
        al., ICML 2017); `ece_conflicting`: the same of bias-conflicting images. `nll` in nats. `f1`: the mean over the
        classes that have images. `demographic_parity`: the largest difference between two biases in the share of
        images that are predicted as one class; `equalised_odds`: the same among the images of one target. Biases
        without such images are left out.
        """
        values = dict.fromkeys(OUTCOME_METRICS, nan)
        if not self.predictions.any():
            return values
        values |= {"ece": _calibration_error(self.bins.sum(axis=0)), "nll": self.nll, "f1": self._f1()}
        if len(self.bins) == len(KINDS):
            values["ece_conflicting"] = _calibration_error(self.bins[KINDS.index("conflicting")])
        if self.predictions.shape[1] > 1:
            values["demographic_parity"] = _largest_gap(self.predictions.sum(axis=0))
            gaps = [gap for table in self.predictions if (gap := _largest_gap(table)) == gap]
            values["equalised_odds"] = max(gaps, default=nan)
        return values

    def _f1(self) -> float:
        confusion = self.predictions.sum(axis=1)
        both = confusion.sum(axis=0) + confusion.sum(axis=1)
        present = confusion.sum(axis=1) > 0
        return float((2 * confusion.diagonal()[present] / both[present]).mean())

    def as_dict(self) -> dict[str, Any]:
        """As plain values of few bytes: the predictions are packed, confidences have four decimals."""
        packed = b64encode(zlib.compress(self.predictions.astype("<i4").tobytes(), 9)).decode()
        counts, sums = self.bins[:, :2].astype(int).tolist(), self.bins[:, 2].round(4).tolist()
        bins = [[*whole, confidences] for whole, confidences in zip(counts, sums, strict=True)]
        return {"predictions": packed, "bins": bins, "nll": round(self.nll, 6) if isfinite(self.nll) else None}


def read_outcomes(values: Any, total: NDArray[numpy.int64]) -> Outcomes:
    """The outcomes in `values`, which `as_dict` made of a split with `total` images [num_classes, num_biases].

    Raises `ValueError` for whatever cannot be that: records may come from anyone.
    """
    if not isinstance(values, dict) or not values.keys() >= {"predictions", "bins", "nll"}:
        raise ValueError("outcomes that are not of an evaluation")
    shape = (*total.shape, total.shape[0])
    try:
        unpacking = zlib.decompressobj()
        size = 4 * prod(shape)
        content = unpacking.decompress(b64decode(values["predictions"], validate=True), size + 1)
        predictions = numpy.frombuffer(content, "<i4").reshape(shape).astype(numpy.int64)
        bins = numpy.array(values["bins"], dtype=numpy.float64)
        nll = nan if values["nll"] is None else float(values["nll"])
    except (binascii.Error, zlib.error, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"outcomes that cannot be read: {error}") from None
    if (predictions < 0).any() or (predictions.sum(axis=2) != total).any():
        raise ValueError("predictions that are not of the groups")
    if bins.shape[1:] != (3, NUM_BINS) or len(bins) not in (1, len(KINDS)) or bins[:, 0].sum() != total.sum():
        raise ValueError("confidences that are not of the images")
    if not (numpy.isfinite(bins).all() and (bins >= 0).all() and (bins[:, 1:] <= bins[:, :1] + 1).all()):
        raise ValueError("confidences that cannot be")
    if nll < 0 or nll == float("inf"):
        raise ValueError("a log loss that cannot be")
    return Outcomes(predictions, bins, nll)


def tabulate_outcomes(
    group: NDArray[numpy.int64],
    shape: tuple[int, int],
    predicted: NDArray[numpy.int64],
    confidence: NDArray[numpy.float64],
    log_loss: NDArray[numpy.float64],
    aligned: NDArray[numpy.bool_],
) -> Outcomes:
    """The outcomes of images by their `group` (its place in a table of `shape`), predicted class, confidence and log
    loss, [N] each. `aligned` bool of `shape`: the usual pairs; where there is none, images are of one kind."""
    classes = shape[0]
    predictions = numpy.bincount(group * classes + predicted, minlength=prod(shape) * classes).reshape(*shape, classes)
    kind = (~aligned.reshape(-1))[group].astype(numpy.int64) if aligned.any() else numpy.zeros_like(group)
    kinds = len(KINDS) if aligned.any() else 1
    known = numpy.nan_to_num(confidence)
    place = kind * NUM_BINS + (numpy.ceil(known * NUM_BINS).astype(numpy.int64) - 1).clip(0, NUM_BINS - 1)
    hit = predicted == group // shape[1]
    sums = [numpy.bincount(place, weights, minlength=kinds * NUM_BINS) for weights in (None, hit, known)]
    bins = numpy.stack([values.reshape(kinds, NUM_BINS) for values in sums], axis=1).astype(numpy.float64)
    return Outcomes(predictions, bins, float(log_loss.mean()) if len(log_loss) else nan)


def _calibration_error(bins: NDArray[numpy.float64]) -> float:
    images, correct, confidences = bins
    return float(numpy.abs(correct - confidences).sum() / images.sum()) if images.any() else nan


def _largest_gap(table: NDArray[numpy.int64]) -> float:
    """Of counts [num_biases, num_classes]: the largest difference between two biases in the share of a class."""
    rows = table[table.sum(axis=1) > 0]
    if len(rows) < 2:
        return nan
    shares = rows / rows.sum(axis=1, keepdims=True)
    return float((shares.max(axis=0) - shares.min(axis=0)).max())
