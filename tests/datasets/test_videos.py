import os
import sys
import time
from pathlib import Path

import numpy
import pytest

from debiaslab.core.errors import UserError
from debiaslab.datasets import videos
from debiaslab.datasets.videos import Broken, Video, index_videos
from tests.datasets.encoding import HEIGHT, WIDTH, encode, encode_sound


def index(files: list[Path]) -> tuple[list[Video], list[Broken]]:
    root = files[0].parent
    return index_videos(root / "cache", "videos", files)


def problem(path: Path) -> str:
    whole, broken = index([path])
    assert not whole
    assert broken[0].path == path
    return broken[0].problem


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.mp4", "libx264", 30),
        ("a.mov", "libx265", 25),
        ("a.mkv", "libx264", 15),
        ("a.webm", "libvpx", 24),
        ("a.avi", "mpeg4", 10),
        ("a.mpg", "mpeg2video", 25),
        ("a.MP4", "mpeg4", 60),
    ],
)
def test_what_is_kept_of_a_video(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = encode(tmp_path / name, 20, codec=codec, rate=rate, options=options)
    (video,), broken = index([path])
    assert not broken
    assert (video.path, video.height, video.width, len(video.times)) == (path, HEIGHT, WIDTH, 20)
    assert video.rate == pytest.approx(rate, rel=0.01)
    assert video.can_seek


def test_times_of_frames_at_irregular_times(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", 10, rate=10, times=lambda number: number * number)
    (video,), _ = index([path])
    assert video.times.tolist() == [100 * number * number for number in range(10)]  # milliseconds
    assert video.rate == pytest.approx(9 / 8.1)


def test_b_frames_without_times(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.avi", 20, codec="libx264", b_frames=2)
    (video,), _ = index([path])
    assert len(video.times) == 20
    assert not video.can_seek


def test_order_and_broken_ones(tmp_path: Path) -> None:
    files = [encode(tmp_path / f"{number}.mp4", 3 + number) for number in range(4)]
    files[1].write_bytes(b"")
    files.insert(0, tmp_path / "z.mp4")
    files[0].write_text("<html>404</html>")
    whole, broken = index(files)
    assert [(video.path, len(video.times)) for video in whole] == [(files[1], 3), (files[3], 5), (files[4], 6)]
    assert [one.path for one in broken] == [files[0], files[2]]
    assert {one.problem for one in broken} == {"damaged, or not a video"}


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def test_cut_files(tmp_path: Path) -> None:
    # what an MP4 file holds is told at its end, or at its beginning
    at_end = encode(tmp_path / "end.mp4", 60)
    at_start = encode(tmp_path / "start.mp4", 60, container_options={"movflags": "faststart"})
    assert problem(cut(at_end, 0.6)) == "damaged, or not a video"
    assert problem(cut(at_start, 0.6)) == "damaged, or not a video"
    at_start.write_bytes(at_start.read_bytes().partition(b"mdat")[0] + b"mdat")
    assert problem(at_start) == "without a frame"
    assert problem(cut(encode(tmp_path / "a.mkv", 60), 0.6)) == "cut short"
    assert problem(cut(encode(tmp_path / "a.webm", 60, codec="libvpx"), 0.6)) == "cut short"
    assert problem(cut(encode(tmp_path / "a.avi", 60, codec="mpeg4"), 0.6)) == "cut short"


def test_files_without_video(tmp_path: Path) -> None:
    assert problem(encode_sound(tmp_path / "sound.mp4")) == "without a video stream"
    assert problem(encode(tmp_path / "empty.mp4", 0)) == "without a video stream"


def test_videos_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [encode(tmp_path / "a.mp4", 5), tmp_path / "b.mp4"]
    files[1].write_bytes(b"")
    (first,), broken = index(files)
    monkeypatch.setattr(videos, "_probe", None)  # calling it would fail
    (again,), broken_again = index(files)
    assert numpy.array_equal(first.times, again.times)
    assert (first.rate, first.checksum, broken) == (again.rate, again.checksum, broken_again)


def test_a_changed_video_is_repair(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", 5)
    (before,), _ = index([path])
    os.utime(path, ns=(0, time.time_ns() + 10**9))
    (touched,), _ = index([path])
    assert touched.checksum == before.checksum
    encode(path, 6)
    (after,), _ = index([path])
    assert len(after.times) == 6
    assert after.checksum != before.checksum


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*/gone\.mp4: No such file"):
        index([tmp_path / "gone.mp4"])
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*/folder\.mp4: Is a directory"):
        index([tmp_path / "folder.mp4"])


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", 5)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write into .*cache.* choose another with data\.cache=DIR"):
        index([path])


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", 5)
    monkeypatch.setitem(sys.modules, "av", None)  # importing it fails
    with pytest.raises(UserError, match=r"reading videos needs the package av: pip install \"\.\[video\]\""):
        index([path])
