"""The format of the golden files, and how far a replay may be off.

A file is an `.npz` with a JSON text `meta` (method, hyper-parameters, initialisation), the inputs `images`, `attrs`
and `batches`, and the recorded series: losses per step, final parameters, values of bare loss functions.
"""

import json
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from debiaslab.core.randomness import torch_generator
from debiaslab.datasets import Normalization
from debiaslab.datasets.inputs import as_input
from debiaslab.methods import Batch, Task
from tests.golden.reference import INITIALISATIONS, initial_values

TOLERANCE = 1e-4  # of what is recorded per step, per sample or per function value
FINAL_TOLERANCE = 1e-3  # of final parameters and logits
ABSOLUTE_TOLERANCE = 1e-6  # of a series that is practically zero
NOISE_FACTOR = 3.0  # of rounding errors or chance, in a series that they move further than the tolerance
ROUNDING_LIMIT = 10.0  # times the tolerance, at most; none for final parameters, which may be nothing but rounding
ROUNDING = 1e-7  # relative, about one unit in the last place of float32


class Unreadable(Exception):
    """The file cannot be read, or is not of this format."""


@dataclass(frozen=True)
class Comparison:
    """One recorded series: its name, the largest relative error of ours, and what is allowed.

    `ours` are our values, `scale` is what the error is relative to. `rounding` is how far, on the same scale, our own
    values move when the images change by rounding errors (`rounding.py`); `sampling` is the standard error of the
    difference, on the same scale, where values are drawn at random.
    """

    series: str
    error: float
    tolerance: float
    ours: Any = field(default=None, repr=False, compare=False)
    scale: float = 1.0
    rounding: float = 0.0
    sampling: float = 0.0

    @property
    def limit(self) -> float:
        """What no rounding error or chance excuses."""
        return inf if self.tolerance == FINAL_TOLERANCE else ROUNDING_LIMIT * self.tolerance

    @property
    def allowed(self) -> float:
        return max(self.tolerance, min(NOISE_FACTOR * max(self.rounding, self.sampling), self.limit))

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed  # False for not-a-number


class GoldenFile:
    """A golden file; every access to something that is not there raises `Unreadable`."""

    def __init__(self, path: Path) -> None:
        try:
            with numpy.load(path, allow_pickle=False) as file:
                self.arrays: dict[str, Any] = {name: file[name] for name in file.files}
            self.meta: dict[str, Any] = dict(json.loads(str(self.arrays.pop("meta"))))
        except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
            raise Unreadable(f"{path}: {error}") from None
        except Exception as error:  # zipfile and zlib have errors of their own
            raise Unreadable(f"{path}: {error}") from None
        self.path = path
        self.noise_seed: int | None = None  # of the rounding errors to add to the images

    def with_rounding_errors(self, noise_seed: int) -> "GoldenFile":
        """The same file, but for other rounding errors in its images."""
        other = copy(self)
        other.noise_seed = noise_seed
        return other

    def __getitem__(self, name: str) -> Any:
        if name not in self.arrays:
            raise Unreadable(f"{self.path}: no array {name!r}")
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def under(self, prefix: str) -> dict[str, Any]:
        """The arrays whose names begin with `prefix`, by the rest of the name."""
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}

    def batches(
        self, normalize: Normalization | None = None, with_bias: bool = False, name: str = "batches"
    ) -> list[Batch]:
        """The recorded batches `name`."""
        images = self.images(normalize)
        target, bias = (torch.from_numpy(self["attrs"][:, column].astype(numpy.int64)) for column in (0, 1))
        indices = [torch.from_numpy(index.astype(numpy.int64)) for index in self[name]]
        return [
            Batch(
                image=images[index],
                target=target[index],
                index=index,
                step=step,
                bias=bias[index] if with_bias else None,
            )
            for step, index in enumerate(indices)
        ]

    def task(self, num_classes: int) -> Task:
        return Task(num_classes, torch.from_numpy(self["attrs"][:, 0].astype(numpy.int64)), seed=0)

    def images(self, normalize: Normalization | None = None) -> Tensor:
        """All images, float32 [N, 3, H, W], in [0, 1] or normalised."""
        images = as_input(torch.from_numpy(numpy.ascontiguousarray(self["images"].transpose(0, 3, 1, 2))), normalize)
        if self.noise_seed is None:
            return images
        return images * (1 + ROUNDING * torch.randn(images.shape, generator=torch_generator(self.noise_seed, "noise")))

    def image_shape(self) -> tuple[int, int, int]:
        _, height, width, channels = self["images"].shape
        return channels, height, width

    def initial_names(self, network: str) -> list[str]:
        """The authors' names of the parameters of `network`, in their order."""
        try:
            return [name for name, _, _ in self.meta["init"][network]["params"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Unreadable(f"{self.path}: no initialisation of {network}: {error}") from None

    def initial_parameters(self, network: str) -> list[Tensor]:
        """The initial parameters of `network`, in the authors' order, by the recipe of the format."""
        self.initial_names(network)
        recipe = self.meta["init"][network]
        for name, _, kind in recipe["params"]:
            if kind not in INITIALISATIONS:
                raise Unreadable(f"{self.path}: unknown kind of initialisation {kind!r} of {name}")
        return [torch.from_numpy(value) for value in initial_values(recipe)]

    def initialise(self, network: str, modules: Iterable[nn.Module]) -> None:
        """Load the initial parameters of `network` into ours, matched by order."""
        ours = parameters_of(modules)
        theirs = self.initial_parameters(network)
        if [parameter.shape for parameter in ours] != [parameter.shape for parameter in theirs]:
            raise Unreadable(f"{self.path}: the parameters of {network} do not have the shapes of our network's")
        with torch.no_grad():
            for parameter, value in zip(ours, theirs, strict=True):
                parameter.copy_(value)


def parameters_of(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


def compare(
    series: str, ours: ArrayLike, theirs: ArrayLike, tolerance: float, scale: float | None = None
) -> Comparison:
    """max|ours - theirs| relative to max|theirs| (or `scale`); absolute where that is practically zero."""
    ours, theirs = numpy.asarray(ours, dtype=numpy.float64), numpy.asarray(theirs, dtype=numpy.float64)
    if ours.shape != theirs.shape:
        return wrong_shape(series, ours.shape, theirs.shape, tolerance)
    error = float(numpy.abs(ours - theirs).max(initial=0.0))
    scale = float(numpy.abs(theirs).max(initial=0.0)) if scale is None else scale
    if scale < ABSOLUTE_TOLERANCE:
        return Comparison(f"{series} (absolute)", error, ABSOLUTE_TOLERANCE, ours)
    return Comparison(series, error / scale, tolerance, ours, scale)


def wrong_shape(series: str, ours: tuple[int, ...], theirs: tuple[int, ...], tolerance: float) -> Comparison:
    """A comparison that fails."""
    return Comparison(f"{series} (shape {list(ours)}, recorded {list(theirs)})", float("nan"), tolerance)


def compare_parameters(
    file: GoldenFile, prefix: str, names: list[str], modules: Iterable[nn.Module]
) -> list[Comparison]:
    """Our parameters against `<prefix>/<name>`, in the authors' order; large ones are kept as sum, norm and head."""
    comparisons = []
    for name, parameter in zip(names, parameters_of(modules), strict=True):
        ours, series = parameter.detach().double().numpy(), f"{prefix}/{name}"
        if series in file:
            comparisons.append(compare(series, ours, file[series], FINAL_TOLERANCE))
            continue
        norm, head = float(file[f"{series}/norm"]), file[f"{series}/head"]
        summary: Mapping[str, ArrayLike] = {
            "sum": ours.sum(),
            "norm": numpy.linalg.norm(ours),
            "head": ours.ravel()[: len(head)],
        }
        for part, value in summary.items():
            scale = norm if part == "sum" else None
            comparisons.append(compare(f"{series}/{part}", value, file[f"{series}/{part}"], FINAL_TOLERANCE, scale))
    return comparisons
