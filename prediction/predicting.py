"""Predict many image files: threads decode the next images while the network computes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from debiaslab.core.memory import copy_to
from debiaslab.core.prefetching import prefetch
from debiaslab.datasets.image_decoding import BrokenImage
from debiaslab.datasets.inputs import as_input
from debiaslab.datasets.preprocessing import Preprocessing, decode_image

Branches = Callable[[Tensor], dict[str, Tensor]]  # images to the logits of each branch


@dataclass(frozen=True)
class Predicted:
    """The probabilities float32 [B, num_classes] of each branch for the files at `positions`.

    `problems` describe the files of the batch that cannot be read.
    """

    positions: Sequence[int]
    probabilities: dict[str, numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float32]]]
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
            logits = branches(images)
            probabilities = {name: values.float().softmax(dim=1).cpu().numpy() for name, values in logits.items()}
            yield Predicted(batch.positions, probabilities, batch.problems)


def _require_file(path: Path) -> Path:
    """Return `path` if it is a file. Raises `BrokenImage` otherwise."""
    with suppress(OSError):
        if path.is_file():
            return path
    raise BrokenImage(path, "does not exist" if not path.exists() else "is not a file")
