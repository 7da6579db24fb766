"""Predict many image files, whose next ones threads decode while the network computes, or features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.memory import copy_to
from debiaslab.core.prefetching import prefetch
from debiaslab.datasets.features import first_not_finite, not_finite
from debiaslab.datasets.image_decoding import BrokenImage
from debiaslab.datasets.inputs import as_input
from debiaslab.datasets.preprocessing import Preprocessing, decode_image

Branches = Callable[[Tensor], dict[str, Tensor]]  # images to the logits of each branch


@dataclass(frozen=True)
class Predicted:
    """The probabilities float32 [B, num_classes] of each branch for the files or rows at `positions`.

    `problems` describe the files of the batch that cannot be read.
    """

    positions: Sequence[int]
    probabilities: Mapping[str, NDArray[numpy.float32]]
    problems: Sequence[str]


@dataclass(frozen=True)
class Decoded:
    """A batch of images in CPU memory: the network's float32 input for a network on the CPU, else uint8."""

    positions: Sequence[int]
    images: Tensor
    problems: Sequence[str]


def predict_files(
    branches: Branches,
    files: Sequence[Path],
    preprocessing: Preprocessing,
    device: torch.device,
    batch_size: int,
    workers: int,
) -> Iterator[Predicted]:
    """Yield the predictions of `files` in order, a batch at a time; files that cannot be read are skipped.

    `workers` is the number of decoding threads. The networks of `branches` must be on `device`, in eval mode.
    """
    on_cpu = device.type == "cpu"

    def read(start: int) -> Decoded:
        positions, pixels, problems = [], [], []
        for position in range(start, min(start + batch_size, len(files))):
            try:
                pixels.append(decode_image(_require_file(files[position]), preprocessing.prepare)[0])
                positions.append(position)
            except BrokenImage as error:
                problems.append(str(error))
        if not pixels:
            return Decoded((), torch.empty(0), problems)
        images = torch.from_numpy(numpy.stack(pixels))
        if on_cpu:
            images = as_input(images, preprocessing.normalize)
        elif device.type == "cuda":
            images = images.pin_memory()
        return Decoded(positions, images, problems)

    with torch.inference_mode():
        for batch in prefetch(read, range(0, len(files), batch_size), workers):
            if not len(batch.positions):
                yield Predicted((), {}, batch.problems)
                continue
            images = batch.images if on_cpu else as_input(copy_to(batch.images, device), preprocessing.normalize)
            yield Predicted(batch.positions, _probabilities(branches(images)), batch.problems)


def predict_features(
    branches: Branches, path: Path, features: NDArray[Any], device: torch.device, batch_size: int
) -> Iterator[Predicted]:
    """Yield the predictions of `features` [N, F], mapped from `path`, in order, a batch at a time.

    The networks of `branches` must be on `device`, in eval mode. Raises `UserError` for values that are not finite.
    """
    with torch.inference_mode():
        for start in range(0, len(features), batch_size):
            part = numpy.asarray(features[start : start + batch_size])
            row = first_not_finite(part)
            if row is not None:
                raise UserError(not_finite(path, start + row))
            inputs = torch.from_numpy(part.astype(numpy.float32)).to(device)
            yield Predicted(range(start, start + len(part)), _probabilities(branches(inputs)), ())


def _probabilities(logits: Mapping[str, Tensor]) -> dict[str, NDArray[numpy.float32]]:
    return {name: values.float().softmax(dim=1).cpu().numpy() for name, values in logits.items()}


def _require_file(path: Path) -> Path:
    """Return `path` if it is a file. Raises `BrokenImage` otherwise."""
    with suppress(OSError):
        if path.is_file():
            return path
    raise BrokenImage(path, "does not exist" if not path.exists() else "is not a file")
