"""A split of BAR's test images, all of them bias-conflicting, kept in a file so that a seed stands for one split.

The rule: the test images of an action, in the order of their numbers, are shuffled with the seed. The first
`VALID_SHARE` of them (rounded down, 1 at least) are for validation; then come as many as `MAX_PERCENT` % of the
training images, which may be moved into training; all others are the test images. So the validation and the test
images are the same for every percentage, and a smaller percentage's training images are among those of a larger one.
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
    """Names of test images by action: for training (`moved`, the first ones first), for validation, for the test."""

    moved: ByAction
    valid: ByAction
    test: ByAction


def num_moved(num_aligned: int, percent: float) -> int:
    """How many images are moved beside `num_aligned` for `percent` % of both to conflict; 1 at least, but for 0 %."""
    return max(1, round(num_aligned * percent / (100 - percent))) if percent else 0


def saved_split(path: Path, names: ByAction, num_aligned: Mapping[str, int], seed: int) -> ConflictingSplit:
    """The split in the file `path`, which is made by the rule if it is not there.

    `names` are the test images of each action in the order of their numbers, `num_aligned` counts its training images.
    Raises `UserError` for a file that does not split these very images.
    """
    if path.exists():
        return _read(path, names, seed)
    require_writable(path.parent, "data.cache")
    split = draw_split(names, num_aligned, seed)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"data": "BAR test images", "seed": seed, **asdict(split)}, indent=1) + "\n")
    return split


def draw_split(names: ByAction, num_aligned: Mapping[str, int], seed: int) -> ConflictingSplit:
    """The split of the rule. Raises `UserError` for an action with too few images."""
    moved, valid, test = {}, {}, {}
    for action, images in names.items():
        order = torch.randperm(len(images), generator=torch_generator(seed, "bar split", action)).tolist()
        shuffled = [images[position] for position in order]
        start = max(1, int(VALID_SHARE * len(images)))
        end = start + num_moved(num_aligned[action], MAX_PERCENT)
        if end >= len(images):
            raise UserError(f"BAR: {len(images)} test images of {action}, at least {end + 1} needed to split them")
        valid[action], moved[action], test[action] = shuffled[:start], shuffled[start:end], shuffled[end:]
    return ConflictingSplit(moved, valid, test)


def _read(path: Path, names: ByAction, seed: int) -> ConflictingSplit:
    fix = "delete the file to split them anew"
    try:
        content = json.loads(path.read_text())
        split = ConflictingSplit(*(_lists(content[part], names) for part in ("moved", "valid", "test")))
        found_seed = content["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no split of BAR's test images ({type(error).__name__}: {error}); {fix}") from None
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
    """The lists by action of a part of the file. Raises `TypeError` or `KeyError` for anything else."""
    if set(content) != set(names) or not all(isinstance(content[action], list) for action in names):
        raise TypeError("not a list for each action")
    return {action: [str(name) for name in content[action]] for action in names}
