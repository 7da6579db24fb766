"""Clips of videos, decoded on demand: a few frames at equal intervals, from any position in a video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.datasets.videos import RATE, Video, open_video, pyav

if TYPE_CHECKING:
    from av import VideoFrame

Pixels = NDArray[numpy.uint8]

# FFmpeg's names of containers with a timestamp for each frame; without timestamps, times change after seeking
SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
FAR = 100  # frames; seek to frames that are further ahead, decode up to nearer ones


@dataclass(frozen=True)
class ClipReader:
    """A `Reader` of clips uint8 [3, frames, size, size]; a row is the index of a video in `videos`.

    A clip consists of every `stride`-th frame at 30 frames per second; at other frame rates, of frames that are about
    as far apart in time. One random number per clip is its position in the video, from the earliest (0) to the latest
    possible one (towards 1). In a video that is too short, the last frame is repeated.

    Frames are stretched to `size` x `size` pixels; with `center`, the short side is resized to `size` pixels, and the
    centre square is read.
    """

    videos: Sequence[Video]
    size: int = 256
    frames: int = 8
    stride: int = 8
    center: bool = False
    num_draws: int = 1

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (3, self.frames, self.size, self.size)

    def __call__(self, rows: Tensor, draws: Tensor | None = None) -> Tensor:
        """As `Reader`. Several clips of one video are decoded together. Raises `UserError` for a broken video."""
        positions = [0.5] * len(rows) if draws is None else draws[:, 0].tolist()
        clips_of: dict[int, list[int]] = {}
        for clip, row in enumerate(rows.tolist()):
            clips_of.setdefault(row, []).append(clip)
        images = numpy.empty((len(rows), *self.image_shape), dtype=numpy.uint8)
        for row, clips in clips_of.items():
            video = self.videos[row]
            numbers = {clip: self.frame_numbers(video, positions[clip]) for clip in clips}
            pixels = read_frames(video, sorted(set().union(*numbers.values())), self._pixels)
            for clip in clips:
                for place, number in enumerate(numbers[clip]):
                    images[clip, :, place] = pixels[number]
        return torch.from_numpy(images)

    def frame_numbers(self, video: Video, position: float) -> list[int]:
        """The indices of the frames of the clip at `position` in [0, 1)."""
        step = self.stride * video.rate / RATE
        room = max(len(video.times) - round(self.frames * step), 0)
        start = int(position * (room + 1))
        return [min(start + round(place * step), len(video.times) - 1) for place in range(self.frames)]

    def _pixels(self, frame: "VideoFrame") -> Pixels:
        """uint8 [3, size, size]."""
        height = width = self.size
        if self.center:
            short = min(frame.height, frame.width)
            height, width = (round(self.size * side / short) for side in (frame.height, frame.width))
        scaled = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")
        top, left = (height - self.size) // 2, (width - self.size) // 2
        pixels = numpy.asarray(scaled.to_ndarray(), dtype=numpy.uint8)
        return pixels[top : top + self.size, left : left + self.size].transpose(2, 0, 1)


def read_frames(video: Video, numbers: Sequence[int], pixels: "Callable[[VideoFrame], Pixels]") -> dict[int, Pixels]:
    """Decode the frames `numbers`, in ascending order, of `video`. Raises `UserError` if one cannot be decoded."""
    found: dict[int, Pixels] = {}
    try:
        for run in _runs(numbers):
            found |= (_seek(video, run, pixels) if video.can_seek else None) or _count(video, run, pixels)
    except pyav().FFmpegError as error:
        raise _changed(video, f"FFmpeg: {error.strerror}") from None
    return found


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Split `numbers` where they are far apart."""
    runs = [[numbers[0]]]
    for number in numbers[1:]:
        if number - runs[-1][-1] > FAR:
            runs.append([])
        runs[-1].append(number)
    return runs


def _seek(video: Video, numbers: Sequence[int], pixels: "Callable[[VideoFrame], Pixels]") -> dict[int, Pixels] | None:
    """Decode the frames `numbers` from the key frame before them; None if not all of them are found that way."""
    number_at = {int(video.times[number]): number for number in numbers}
    first, last = min(number_at), max(number_at)
    found: dict[int, Pixels] = {}
    try:
        with open_video(video.path) as (container, stream):
            if stream is None or container.format.name not in SEEKABLE:
                return None
            container.seek(first, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is None or frame.pts > last:
                    return None
                if frame.pts in number_at:
                    found[number_at[frame.pts]] = pixels(frame)
                if len(found) == len(numbers):
                    return found
    except pyav().FFmpegError:  # the file is not seekable
        return None
    return None


def _count(video: Video, numbers: Sequence[int], pixels: "Callable[[VideoFrame], Pixels]") -> dict[int, Pixels]:
    """Decode the frames `numbers`, counting frames from the start of the video."""
    found: dict[int, Pixels] = {}
    with open_video(video.path) as (container, stream):
        for number, frame in enumerate(container.decode(stream) if stream is not None else ()):
            if number == numbers[len(found)]:
                found[number] = pixels(frame)
            if len(found) == len(numbers):
                return found
    raise _changed(video, f"frame {numbers[len(found)]} is missing")


def _changed(video: Video, reason: str) -> UserError:
    return UserError(
        f"{video.path} can no longer be read ({reason}): it has changed; replace or remove the file and start again"
    )
