"""An index of video files: each is decoded once to verify that it is complete and to find its frames' timestamps.

The index is cached, and rebuilt if files change. Videos are decoded by PyAV, whose wheels include FFmpeg; it is
imported only when videos are read.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.extras import how_to_install
from debiaslab.core.progress_bar import progress_bar
from debiaslab.datasets.cache import content_of, fingerprint, load_or_build

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

VERSION = 1  # of the index; increment it whenever it changes
SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".wmv"),
    *(".flv", ".mpg", ".mpeg", ".ts", ".ogv"),
)
PROBLEMS = ("", "damaged, or not a video", "without a video stream", "without a frame", "cut short")
WHOLE, DAMAGED, NO_STREAM, NO_FRAME, CUT_SHORT = range(len(PROBLEMS))
RATE = 30.0  # frames per second, if the video does not specify it
MISSING_SECONDS, MISSING_SHARE = 0.5, 0.1  # a file that lacks more than this at its end is cut short


@dataclass(frozen=True)
class Video:
    """An intact video. `times` int64 [frames] are the timestamps of the frames, in order, in the file's units."""

    path: Path
    height: int
    width: int
    rate: float  # frames per second
    times: NDArray[numpy.int64]
    checksum: int

    @cached_property
    def can_seek(self) -> bool:
        """Whether the timestamps identify the frames, which they do not in all formats."""
        return bool((numpy.diff(self.times) > 0).all())


@dataclass(frozen=True)
class Broken:
    path: Path
    problem: str


def index_videos(folder: Path, name: str, files: Sequence[Path]) -> tuple[list[Video], list[Broken]]:
    """Index `files`, of which there must be some: the intact videos and the broken ones, each in the order of `files`.

    The index is read from `<folder>/<name>-<key>.safetensors`; if that does not exist, all `files` are decoded to build
    it. The key changes with the bytes of the files. Raises `UserError` for a file that cannot be opened, and for
    a folder that cannot be written.
    """
    key = fingerprint(version=VERSION, content=content_of(files, folder))
    label = f"checking {len(files):,} videos once ({name}, {files[0].parent})"
    found = load_or_build(folder, name, key, lambda: _as_tensors(_probed(files, label)))
    ends = found["frames"].cumsum(0).tolist()
    videos, broken = [], []
    for number, path in enumerate(files):
        problem = int(found["problem"][number])
        if problem != WHOLE:
            broken.append(Broken(path, PROBLEMS[problem]))
            continue
        height, width = found["size"][number].tolist()
        times = found["times"][ends[number] - int(found["frames"][number]) : ends[number]].numpy()
        videos.append(Video(path, height, width, float(found["rate"][number]), times, int(found["checksum"][number])))
    return videos, broken


def pyav() -> ModuleType:
    """Import the package that decodes videos. Raises `UserError` if it is not installed."""
    try:
        import av
    except ImportError:
        raise UserError(f"reading videos needs the package av: {how_to_install('av')}") from None
    return av


@contextmanager
def open_video(path: Path) -> "Iterator[tuple[InputContainer, VideoStream | None]]":
    """Open a file; yields it with its first video stream for single-threaded decoding, None if there is no known one.

    Raises PyAV's `FFmpegError` if it is not a video file.
    """
    with pyav().open(str(path), metadata_errors="ignore") as container:
        stream = next((stream for stream in container.streams.video if stream.codec_context is not None), None)
        if stream is not None:
            stream.codec_context.thread_count = 1
        yield container, stream


# ---- probing


@dataclass(frozen=True)
class _Probe:
    checksum: int
    problem: int = WHOLE
    size: tuple[int, int] = (0, 0)  # height, width
    rate: float = 0.0
    times: Sequence[int] = ()


def _probed(files: Sequence[Path], label: str) -> list[_Probe]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # FFmpeg releases the GIL
        try:
            return list(progress_bar(pool.map(_probe, files), len(files), label))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _probe(path: Path) -> _Probe:
    checksum = _checksum(path)
    try:
        with open_video(path) as (container, stream):
            if stream is None:
                return _Probe(checksum, NO_STREAM)
            frames = [(frame.pts or 0, frame.duration, frame.height, frame.width) for frame in container.decode(stream)]
            if not frames:
                return _Probe(checksum, NO_FRAME)
            times = [frame[0] for frame in frames]
            second = 1 / float(stream.time_base or 1)  # in the units of the times
            start, length = (
                0 if value is None else value / 1e6 for value in (container.start_time, container.duration)
            )
    except pyav().FFmpegError:
        return _Probe(checksum, DAMAGED)
    seconds = (max(times) - min(times)) / second
    rate = (len(times) - 1) / seconds if seconds else RATE
    missing = length - (max(times) / second + max(frames[-1][1] / second, 1 / rate) - start)
    problem = CUT_SHORT if missing > max(MISSING_SECONDS, MISSING_SHARE * length) else WHOLE
    return _Probe(checksum, problem, frames[0][2:], rate, times)


def _checksum(path: Path) -> int:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions and the disk") from None
    return int.from_bytes(digest[:8], "little", signed=True)


def _as_tensors(probes: Sequence[_Probe]) -> dict[str, Tensor]:
    return {
        "problem": torch.tensor([probe.problem for probe in probes], dtype=torch.uint8),
        "checksum": torch.tensor([probe.checksum for probe in probes]),
        "size": torch.tensor([probe.size for probe in probes], dtype=torch.int32),
        "rate": torch.tensor([probe.rate for probe in probes], dtype=torch.float64),
        "frames": torch.tensor([len(probe.times) for probe in probes]),
        "times": torch.cat([torch.tensor(probe.times, dtype=torch.int64) for probe in probes]),
    }
