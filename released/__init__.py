"""Load weights saved by the authors' own code, for `evaluate` (docs/released_weights.md)."""

from debiaslab.released.files import is_released
from debiaslab.released.weights import RULE, Released, load_released, read_released

__all__ = ["RULE", "Released", "is_released", "load_released", "read_released"]
