"""Frame i of a video is what a clip shows as frame i: every frame shows its own number."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.datasets import clips
from debiaslab.datasets.clips import ClipReader
from debiaslab.datasets.videos import Video, index_videos
from tests.datasets.encoding import Picture, encode, number_in

QUIET = {"x265-params": "log-level=none"}
KINDS: list[tuple[str, Mapping[str, Any]]] = [
    ("a.mp4", {"key_frame_every": 250}),
    ("a.mp4", {"key_frame_every": 5, "b_frames": 2}),
    ("a.mp4", {"key_frame_every": 10, "options": {"x264-params": "open-gop=1:bframes=3"}}),
    ("a.mp4", {"key_frame_every": 30, "options": {"x264-params": "intra-refresh=1"}}),
    ("a.mp4", {"codec": "mpeg4", "b_frames": 2}),
    ("a.mov", {"codec": "libx265", "options": QUIET}),
    ("a.mkv", {"b_frames": 3, "rate": 25}),
    ("a.mkv", {"times": lambda number: number + number // 7}),
    ("a.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
    ("a.avi", {"codec": "mpeg4", "rate": 15}),
    ("a.avi", {"b_frames": 2}),  # times that do not tell the frames apart
    ("a.mpg", {"codec": "mpeg2video", "b_frames": 2}),  # times that change with seeking
]


def indexed(path: Path) -> Video:
    (video,), _ = index_videos(path.parent / "cache", "videos", [path])
    return video


def numbers_in(clip: Tensor) -> list[int]:
    return [number_in(frame) for frame in clip.unbind(dim=1)]


def positions(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_every_frame_of_every_kind(tmp_path: Path, name: str, settings: Mapping[str, Any]) -> None:
    video = indexed(encode(tmp_path / name, 40, **settings))
    reader = ClipReader([video], size=24, frames=3, stride=4)
    seen = set()
    for position in torch.arange(50) / 50:
        expected = reader.frame_numbers(video, float(position))
        assert numbers_in(reader(torch.tensor([0]), position.view(1, 1))[0]) == expected
        seen.update(expected)
    assert seen >= set(range(36))


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_clips_of_one_video_read_together(tmp_path: Path, name: str, settings: Mapping[str, Any]) -> None:
    reader = ClipReader([indexed(encode(tmp_path / name, 90, **settings))], size=24)
    wanted = torch.arange(10)[:, None] / 10
    read = reader(torch.zeros(10, dtype=torch.int64), wanted)
    for clip, position in zip(read, wanted[:, 0].tolist(), strict=True):
        assert numbers_in(clip) == reader.frame_numbers(reader.videos[0], position)


def video_of(num_frames: int, rate: float) -> Video:
    return Video(Path("a.mp4"), 64, 96, rate, numpy.arange(num_frames), 0)


def test_frame_numbers() -> None:
    reader = ClipReader([])
    assert reader.frame_numbers(video_of(300, 30.0), 0.0) == [0, 8, 16, 24, 32, 40, 48, 56]
    # 64 of 300 frames: the last start is 236
    assert reader.frame_numbers(video_of(300, 30.0), 0.9999)[0] == 236
    assert [reader.frame_numbers(video_of(300, 30.0), view / 10)[0] for view in range(3)] == [0, 23, 47]
    # the same time passes in a video of other frames per second
    assert reader.frame_numbers(video_of(300, 60.0), 0.0) == [0, 16, 32, 48, 64, 80, 96, 112]
    assert reader.frame_numbers(video_of(300, 15.0), 0.0) == [0, 4, 8, 12, 16, 20, 24, 28]
    assert reader.frame_numbers(video_of(300, 29.97), 0.0) == [0, 8, 16, 24, 32, 40, 48, 56]
    assert reader.frame_numbers(video_of(300, 25.0), 0.0) == [0, 7, 13, 20, 27, 33, 40, 47]


def test_the_last_frame_of_a_short_video_is_repeated(tmp_path: Path) -> None:
    reader = ClipReader([indexed(encode(tmp_path / "a.mp4", 20)), indexed(encode(tmp_path / "b.mp4", 1))], size=24)
    for position in (0.0, 0.5, 0.99):
        short, single = reader(torch.tensor([0, 1]), positions(position, position))
        assert numbers_in(short) == [0, 8, 16, 19, 19, 19, 19, 19]
        assert numbers_in(single) == [0] * 8


def test_without_draws_the_middle_clip_is_read(tmp_path: Path) -> None:
    reader = ClipReader([indexed(encode(tmp_path / "a.mp4", 101))], size=24)
    assert reader.image_shape == (3, 8, 24, 24)
    clip = reader(torch.tensor([0]))
    assert (clip.shape, clip.dtype) == ((1, 3, 8, 24, 24), torch.uint8)
    assert numbers_in(clip[0])[0] == 19  # of the starts 0 to 37


def test_frames_far_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = indexed(encode(tmp_path / "a.mp4", 300, key_frame_every=20))
    reader = ClipReader([video], size=24)
    wanted = [3, 4, 150, 151, 298]
    monkeypatch.setattr(clips, "_count", None)  # calling it would fail
    pixels = clips.read_frames(video, wanted, reader._pixels)
    assert {number: number_in(torch.from_numpy(frame.copy())) for number, frame in pixels.items()} == {
        number: number for number in wanted
    }


def test_frames_at_equal_times(tmp_path: Path) -> None:
    video = indexed(encode(tmp_path / "a.mkv", 30, codec="mpeg4", b_frames=0, rate=3000))  # times in milliseconds
    assert not video.can_seek
    for number in range(30):
        pixels = clips.read_frames(video, [number], ClipReader([video], size=24)._pixels)
        assert number_in(torch.from_numpy(pixels[number].copy())) == number


def bands(number: int) -> Picture:
    """Wide: red, then green for a square in the middle, then blue."""
    picture = numpy.zeros((32, 96, 3), dtype=numpy.uint8)
    picture[:, :32, 0] = picture[:, 32:64, 1] = picture[:, 64:, 2] = 255
    return picture


def test_whole_frames_and_squares_in_the_middle(tmp_path: Path) -> None:
    wide = encode(tmp_path / "wide.mp4", 2, picture=bands, options={"crf": "1"})
    tall = encode(tmp_path / "tall.mp4", 2, picture=lambda n: bands(n).transpose(1, 0, 2).copy(), options={"crf": "1"})
    reader = ClipReader([indexed(wide), indexed(tall)], size=48, frames=1)
    whole = reader(torch.tensor([0, 1])).float()[:, :, 0]
    assert (whole[1].transpose(1, 2) - whole[0]).abs().mean() < 4
    for band in range(3):
        inner = whole[0, :, 2:-2, 16 * band + 2 : 16 * band + 14]
        assert inner[band].min() > 230
        assert inner[[other for other in range(3) if other != band]].max() < 25
    for middle in replace(reader, center=True)(torch.tensor([0, 1])).float()[:, :, 0]:
        inner = middle[:, 4:-4, 4:-4]
        assert inner[1].min() > 230
        assert inner[[0, 2]].max() < 25


def test_threads_and_order_do_not_matter(tmp_path: Path) -> None:
    files = [encode(tmp_path / f"{number}.mp4", 70 + 10 * number) for number in range(3)]
    reader = ClipReader([indexed(path) for path in files], size=24)
    rows, draws = torch.tensor([2, 0, 1, 0, 2, 2]), positions(0.9, 0.0, 0.3, 0.7, 0.2, 0.9)
    together = reader(rows, draws)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda clip: reader(rows[clip : clip + 1], draws[clip : clip + 1]), range(6)))
    assert together.equal(torch.cat(parts))
    assert together[0].equal(together[5])


@pytest.mark.parametrize("change", ["gone", "junk", "shorter"])
def test_a_video_that_breaks_after_it_was_checked(tmp_path: Path, change: str) -> None:
    path = encode(tmp_path / "a.mp4", 60)
    reader = ClipReader([indexed(path)], size=24, frames=8, stride=4)
    if change == "gone":
        path.unlink()
    elif change == "junk":
        path.write_bytes(b"junk")
    else:
        encode(path, 20)
    with pytest.raises(UserError, match=r"/a\.mp4 can no longer be read \(.+\).*; replace or remove the file"):
        reader(torch.tensor([0]), positions(0.99))
