"""Random numbers for a batch of images."""

from collections.abc import Sequence
from functools import cached_property

import numpy
from numpy.typing import NDArray


class Draws:
    """A generator per image, each with its own seed, so that an image's numbers do not depend on other images."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = seeds

    @cached_property
    def generators(self) -> list[numpy.random.Generator]:
        return [numpy.random.default_rng(seed) for seed in self.seeds]

    def normal(self, *shape: int) -> NDArray[numpy.float64]:
        """Standard normal, [N, *shape]."""
        return numpy.stack([generator.standard_normal(shape) for generator in self.generators])

    def uniform(self, low: float, high: float, *shape: int) -> NDArray[numpy.float64]:
        """Uniform in [low, high), [N, *shape]."""
        return numpy.stack([generator.uniform(low, high, shape) for generator in self.generators])

    def integers(self, low: int, high: int, *shape: int) -> NDArray[numpy.int64]:
        """Uniform integers from `low` to `high` - 1, [N, *shape]."""
        return numpy.stack([generator.integers(low, high, shape) for generator in self.generators])

    def poisson(self, rates: NDArray[numpy.float64]) -> NDArray[numpy.int64]:
        """Poisson counts for `rates` [N, ...]."""
        return numpy.stack([generator.poisson(rate) for generator, rate in zip(self.generators, rates, strict=True)])
