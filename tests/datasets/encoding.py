"""Videos that tests encode: each frame shows its own number."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[numpy.uint8]

WIDTH, HEIGHT = 96, 64
TILES = (3, 3)  # rows and columns; white for the binary digits of the number that are 1


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """The picture [height, width, 3] that shows `number`, below 512: coarse enough for any codec, size and crop."""
    digits = numpy.array([number >> digit & 1 for digit in range(9)], dtype=numpy.uint8).reshape(TILES)
    rows, columns = (numpy.arange(side) * 3 // side for side in (height, width))
    return numpy.repeat(255 * digits[rows][:, columns, None], 3, axis=2)


def number_in(image: Tensor) -> int:
    """The number that an image [3, H, W] shows, of the whole picture."""
    height, width = image.shape[1:]
    number = 0
    for digit in range(9):
        row, column = divmod(digit, 3)
        if image[:, (2 * row + 1) * height // 6, (2 * column + 1) * width // 6].float().mean() > 127:
            number |= 1 << digit
    return number


def encode(
    path: Path,
    num_frames: int,
    *,
    codec: str = "libx264",
    rate: int = 30,
    key_frame_every: int = 12,
    b_frames: int | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    picture: Callable[[int], Picture] = numbered,
    times: Callable[[int], int] | None = None,
) -> Path:
    """A video file of so many frames; `times` of the frames, in units of 1 / `rate` seconds, if not 0, 1, 2, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, _ = picture(0).shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = key_frame_every
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        container.start_encoding()
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times(number), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def encode_sound(path: Path) -> Path:
    """A file with one second of silence and no video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        assert isinstance(stream, av.AudioStream)
        for _ in range(8):
            frame = av.AudioFrame.from_ndarray(numpy.zeros((1, 1000), numpy.float32), format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
