"""A split of BAR's test images, which are all bias-conflicting; saved to a file so that each seed has one fixed split.

The test images of each action, sorted by number, are shuffled with the seed. The first `VALID_SHARE` of them (rounded
down, at least 1) are for validation; the next ones, enough for `MAX_PERCENT` % of the training images, can be moved
into training; the rest are the test images. So validation and test images are the same for all percentages, and the
training images of a smaller percentage are a subset of those of a larger one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from debiaslab.core.errors import UserError
from debiaslab.core.files import atomic_write, require_writable
from debiaslab.core.randomness import torch_generator

VALID_SHARE = 0.15
MAX_PERCENT = 5.0

# action -> names of the image files
ByAction = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ConflictingSplit:
    """Names of test images by action: for training (`moved`, in the order of moving), validation and test."""

    moved: ByAction
    valid: ByAction
    test: ByAction


def count_moved(num_aligned: int, percent: float) -> int:
    """The number of conflicting images that are `percent` % together with `num_aligned`; at least 1, unless 0 %."""
    return max(1, round(num_aligned * percent / (100 - percent))) if percent else 0


def read_or_draw_split(path: Path, names: ByAction, num_aligned: Mapping[str, int], seed: int) -> ConflictingSplit:
    """Read the split in the file `path`, or draw and save it if the file does not exist.

    `names` are the test images of each action, sorted by number; `num_aligned` are the numbers of training images.
    Raises `UserError` for a file that does not split exactly these images.
    """
    if path.exists():
        return _read(path, names, seed)
    require_writable(path.parent, "data.cache")
    split = draw_split(names, num_aligned, seed)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"data": "BAR test images", "seed": seed, **asdict(split)}, indent=1) + "\n")
    return split


def draw_split(names: ByAction, num_aligned: Mapping[str, int], seed: int) -> ConflictingSplit:
    """Draw the split. Raises `UserError` for an action with too few images."""
    moved, valid, test = {}, {}, {}
    for action, images in names.items():
        order = torch.randperm(len(images), generator=torch_generator(seed, "bar split", action)).tolist()
        shuffled = [images[position] for position in order]
        start = max(1, int(VALID_SHARE * len(images)))
        end = start + count_moved(num_aligned[action], MAX_PERCENT)
        if end >= len(images):
            raise UserError(f"BAR: {len(images)} test images of {action}, at least {end + 1} needed to split them")
        valid[action], moved[action], test[action] = shuffled[:start], shuffled[start:end], shuffled[end:]
    return ConflictingSplit(moved, valid, test)


def _read(path: Path, names: ByAction, seed: int) -> ConflictingSplit:
    fix = "delete the file to split them again"
    try:
        content = json.loads(path.read_text())
        split = ConflictingSplit(*(_lists(content[part], names) for part in ("moved", "valid", "test")))
        found_seed = content["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a split of BAR's test images ({type(error).__name__}: {error}); {fix}"
        ) from None
    if found_seed != seed:
        raise UserError(f"{path} is the split of data.seed={found_seed}, not of {seed}; {fix}")
    for action, images in names.items():
        listed = [*split.moved[action], *split.valid[action], *split.test[action]]
        wrong = sorted(name for name in {*listed, *images} if name not in images or listed.count(name) != 1)
        if wrong:
            raise UserError(f"{path} must list each test image of {action} once, see {wrong[0]}; {fix}")
        if not split.valid[action] or not split.test[action]:
            raise UserError(f"{path}: no {'test' if split.valid[action] else 'validation'} image of {action}; {fix}")
    return split


def _lists(content: Any, names: ByAction) -> dict[str, list[str]]:
    """A part of the file, as lists by action. Raises `TypeError` or `KeyError` for anything else."""
    if set(content) != set(names) or not all(isinstance(content[action], list) for action in names):
        raise TypeError("not a list for each action")
    return {action: [str(name) for name in content[action]] for action in names}
