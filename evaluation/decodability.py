"""Linear decodability: how well a linear probe predicts target and bias from a network's features.

A probe is fitted to the features of one half of some test images and evaluated on the other half. The networks are not
changed, and neither training nor selection depends on it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from debiaslab.core.randomness import torch_generator
from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.outputs import draw_stratified, outputs_at

PREFIX = "decodability"  # of the metrics' names: decodability/<target or bias>/<branch>
NUM_IMAGES = 2_000  # maximum number of test images
RIDGE = 1e-2  # L2 penalty on the probe's weights, for standardised features and mean squared error


@dataclass(frozen=True)
class Probed:
    """The test images for the probes: indices int64 [M], sample weights float64 [M], and which half each is in."""

    index: Tensor
    weight: Tensor
    is_fitted: Tensor


class Decodability:
    """Measures decodability on a fixed sample of the test images, which is a function of the data alone."""

    def __init__(self, data: BiasedDataset, workers: int = 0) -> None:
        self.data, self.workers = data, workers

    @cached_property
    def probed(self) -> Probed:
        """Images stratified by (target, bias) group, half of each group for fitting.

        All groups have the same weight within each half, so that the two labels are independent.
        """
        split = self.data.test
        generator = torch_generator(0, PREFIX)
        index = draw_stratified(split, self.data, NUM_IMAGES, generator)
        group = self.data.groups(split).cpu()[index]
        order = torch.randperm(len(index), generator=generator)
        order = order[group[order].argsort(stable=True)]
        is_fitted = torch.zeros(len(index), dtype=torch.bool)
        is_fitted[order[::2]] = True  # every second image of each group
        weight = torch.zeros(len(index), dtype=torch.float64)
        for half in (is_fitted, ~is_fitted):
            weight[half] = torch.bincount(group[half])[group[half]].to(weight.dtype).reciprocal()
        return Probed(index, weight, is_fitted)

    def measure(self, features: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, float]:
        """Fit and evaluate the probes: `<PREFIX>/<label>/<branch>` -> accuracy on the other half, in [0, 1].

        `features` is that of a `Phase`, with networks in eval mode. Leaves out labels that are unknown or constant, and
        branches with features that are not finite.
        """
        split, probed = self.data.test, self.probed
        labels = {"target": split.target} | ({"bias": split.bias} if split.has_bias else {})
        found = outputs_at(probed.index.to(split.target.device), features, split, self.data, self.workers)
        values = {}
        for branch, matrix in found.items():
            double = matrix.cpu().to(torch.float64)
            if not bool(double.isfinite().all()):
                continue
            for name, label in labels.items():
                chosen = label.cpu()[probed.index]
                if bool((chosen != chosen[0]).any()):
                    values[f"{PREFIX}/{name}/{branch}"] = probe_accuracy(double, chosen, probed)
        return values


def probe_accuracy(features: Tensor, label: Tensor, probed: Probed) -> float:
    """Fit a ridge regression from `features` float64 [M, F] to `label` int64 [M]; returns its weighted accuracy.

    In closed form: features are standardised with the statistics of the fitting half; the intercept is not penalised.
    """
    fit, weight = probed.is_fitted, probed.weight
    share = (weight[fit] / weight[fit].sum())[:, None]
    wanted = one_hot(label).to(features.dtype)
    mean, wanted_mean = (share * features[fit]).sum(dim=0), (share * wanted[fit]).sum(dim=0)
    std = (share * (features[fit] - mean).square()).sum(dim=0).sqrt()
    standard = (features - mean) / std.where(std > 1e-6 * std.max(), torch.inf)  # constant features become 0
    gram = standard[fit].T @ (share * standard[fit])
    moment = standard[fit].T @ (share * (wanted[fit] - wanted_mean))
    solution = torch.linalg.solve(gram + RIDGE * torch.eye(len(gram), dtype=gram.dtype), moment)
    hit = (standard[~fit] @ solution + wanted_mean).argmax(dim=1) == label[~fit]
    return float((weight[~fit] * hit).sum() / weight[~fit].sum())
