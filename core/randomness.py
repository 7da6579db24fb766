"""Random generators derived from one root seed, one per consumer.

Each is seeded by a hash of (root seed, name of the consumer), so adding a consumer never changes the numbers of
another, and resuming needs no generator state: the order of epoch 7 is a function of (seed, "order", phase, 7).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch

SEEDS, SEEDS_IN_WORDS = range(2**32), "0 or more, below 2^32"  # what Sacred can seed numpy with


def derived_seed(seed: int, *names: object) -> int:
    """A seed in [0, 2^63) for the consumer `names`, derived from the root `seed`."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def torch_generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator for the consumer `names`: drawing on the CPU gives every device the same numbers."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))


def numpy_generator(seed: int, *names: object) -> numpy.random.Generator:
    """A numpy generator for the consumer `names`."""
    return numpy.random.default_rng(derived_seed(seed, *names))


@contextmanager
def seed_torch(seed: int, *names: object) -> Iterator[None]:
    """Seed torch's global CPU generator, which initialisers use, for the consumer `names` within the block."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, *names))
        yield
