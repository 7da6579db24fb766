"""One root seed, and a random generator of its own for each consumer.

A consumer's generator is seeded by a hash of (root seed, names of the consumer), so that adding a consumer never
shifts another's numbers, and a resumed run needs no generator state: the order of epoch 7 is a function of
(seed, "order", phase, 7).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch

SEEDS, SEEDS_IN_WORDS = range(2**32), "0 or more, below 2^32"  # that Sacred can start numpy's generators from


def derived_seed(seed: int, *names: object) -> int:
    """A seed in [0, 2^63) for the consumer `names` of the root `seed`."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def torch_generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator for the consumer `names`; draw on the CPU, so that every device sees the same numbers."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))


def numpy_generator(seed: int, *names: object) -> numpy.random.Generator:
    """A numpy generator for the consumer `names`."""
    return numpy.random.default_rng(derived_seed(seed, *names))


@contextmanager
def seeded(seed: int, *names: object) -> Iterator[None]:
    """Within the block, torch's global CPU generator (which module initialisers use) is the consumer's own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, *names))
        yield
