"""Videos per second: checked once, then read as clips for training and tests, by one and two threads.

The videos are H.264, 340 x 256 pixels, 300 frames, like most copies of Kinetics, with a key frame every 250 frames;
they show a moving blurred random picture.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from benchmarks.side_by_side import Row
from debiaslab.core.prefetching import prefetch
from debiaslab.core.randomness import numpy_generator, torch_generator
from debiaslab.datasets.augmentation import JitteredCropAndFlip
from debiaslab.datasets.clips import ClipReader
from debiaslab.datasets.videos import Video, index_videos, pyav

NUM_VIDEOS, NUM_FRAMES, WIDTH, HEIGHT = 24, 300, 340, 256
BATCH = 4
VIEWS = 10

Timer = Callable[[str, int], AbstractContextManager[None]]


def run() -> list[Row]:
    rows = []

    @contextmanager
    def timed(name: str, count: int) -> Iterator[None]:
        clock, processor = time.perf_counter(), time.process_time()
        yield
        rate = count / (time.perf_counter() - clock)
        milliseconds = 1000 * (time.process_time() - processor) / count
        rows.append(Row(name=name, unit="per second", ours=rate))
        rows.append(Row(name=name, unit="ms of a processor", ours=milliseconds))

    with tempfile.TemporaryDirectory() as folder:
        videos = encoded(Path(folder), timed)
        for threads in (1, 2):
            with timed(f"clips for training, {threads} threads", NUM_VIDEOS):
                read_all(ClipReader(videos), threads, torch.rand(NUM_VIDEOS, 1, generator=torch_generator(0, "clips")))
            with timed(f"{VIEWS} clips for a test, {threads} threads", NUM_VIDEOS):
                read_all(ClipReader(videos, center=True), threads, None)
    clips = torch.randint(0, 256, (BATCH, 3, 8, 256, 256), dtype=torch.uint8)
    augment = JitteredCropAndFlip(torch.tensor([[HEIGHT, WIDTH]]).expand(BATCH, -1))
    with timed("random crops of clips", 4 * BATCH):
        for _ in range(4):
            augment(clips, torch.arange(BATCH), torch.rand(BATCH, augment.num_draws))
    return rows


def encoded(folder: Path, timed: Timer) -> list[Video]:
    """Return the same video several times, checked."""
    noise = numpy_generator(0, "benchmark video").integers(0, 256, (HEIGHT + 50, WIDTH + 60, 3), dtype=numpy.uint8)
    blurred = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3))
    picture = numpy.asarray(blurred.point(lambda value: 6 * (value - 128) + 128))
    av = pyav()
    path = folder / "0.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "250"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(NUM_FRAMES):
            top, left = round(20 + 20 * numpy.cos(number / 13)), round(30 + 25 * numpy.sin(number / 9))
            view = numpy.ascontiguousarray(picture[top : top + HEIGHT, left : left + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    files = [folder / f"{number}.mp4" for number in range(NUM_VIDEOS)]
    for copy in files[1:]:
        copy.write_bytes(path.read_bytes())
    print(f"{path.stat().st_size / 2**20:.2f} MiB a video")
    with timed("videos checked, all processors", NUM_VIDEOS):
        videos, _ = index_videos(folder, "videos", files)
    return videos


def read_all(reader: ClipReader, threads: int, draws: Tensor | None) -> None:
    """Read a clip of each video, at `draws`; None: all views."""

    def read(start: int) -> Tensor:
        rows = torch.arange(start, start + BATCH)
        if draws is not None:
            return reader(rows, draws[start : start + BATCH])
        return reader(rows.repeat_interleave(VIEWS), (torch.arange(VIEWS) / VIEWS).repeat(BATCH)[:, None])

    for _ in prefetch(read, range(0, NUM_VIDEOS, BATCH), threads):
        pass
