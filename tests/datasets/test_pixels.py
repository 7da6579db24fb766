import os
import re
import time
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from debiaslab.core.errors import UserError
from debiaslab.core.vision import torchvision
from debiaslab.datasets import cache, pixels
from debiaslab.datasets.cache import content_of
from debiaslab.datasets.pixels import MappedImages, mapped_images
from debiaslab.datasets.preprocessing import ResizedCenterCrop, Stretched

SHAPES = [(20, 30), (16, 16), (40, 8), (7, 9)]  # height, width


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Image files of several sizes, formats and modes."""
    generator = numpy.random.default_rng(0)
    (tmp_path / "images").mkdir()
    paths = []
    for number, (height, width) in enumerate(SHAPES):
        image = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=numpy.uint8))
        path = tmp_path / "images" / f"{number}.{('png', 'jpg', 'bmp', 'png')[number]}"
        (image.convert("L") if number == 3 else image).save(path)
        paths.append(path)
    return paths


def read(files: list[Path], size: int = 16) -> MappedImages:
    root = files[0].parent
    return mapped_images(root.parent / "cache", "photos", files, Stretched(size))


def cached_file(files: list[Path]) -> Path:
    (path,) = (files[0].parent.parent / "cache").glob("*.safetensors")
    return path


def test_images_are_what_pillow_makes_of_them(files: list[Path]) -> None:
    found = read(files)
    assert found.image_shape == (3, 16, 16)
    assert found.sizes.tolist() == [list(shape) for shape in SHAPES]
    for row, path in enumerate(files):
        with Image.open(path) as image:
            expected = numpy.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR))
        assert numpy.array_equal(found(torch.tensor([row]))[0].permute(1, 2, 0).numpy(), expected)
    assert found(torch.tensor([2, 0])).equal(found.images[[2, 0]])


def test_files_are_decoded_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(files)
    monkeypatch.setattr(pixels, "decode_image", None)  # calling it would fail
    again = read(files)
    assert again.images.equal(first.images)
    assert (again.path, again.identity) == (first.path, first.identity)


def test_large_images_are_read_from_the_disk_at_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda number, start, size, advice: asked.append((start, size, advice)))
    small, large = read(files, 16), read(files, 80)
    assert small(torch.tensor([1])).equal(small.images[[1]])
    assert not asked
    assert large(torch.tensor([3, 0])).equal(large.images[[3, 0]])
    content = large.path.read_bytes()
    assert [content[start : start + size] for start, size, _ in asked] == [
        large.images[row].numpy().tobytes() for row in (3, 0)
    ]
    assert {advice for *_, advice in asked} == {os.POSIX_FADV_WILLNEED}


def test_a_changed_file_or_size_is_repair(files: list[Path]) -> None:
    first = read(files)
    assert read(files, size=8).image_shape == (3, 8, 8)
    Image.new("RGB", (16, 16), "red").save(files[1].with_suffix(".png"))
    files[1].with_suffix(".png").replace(files[1])
    os.utime(files[1], ns=(0, time.time_ns() + 10**9))
    changed = read(files)
    assert changed.images[1].flatten(1)[:, 0].tolist() == [255, 0, 0]
    assert changed.identity != first.identity


def test_the_identity_is_that_of_the_pixels(files: list[Path]) -> None:
    first = read(files)
    with files[0].open("ab") as file:
        file.write(b"behind the end of the picture")
    again = read(files)
    assert again.path != first.path
    assert again.identity == first.identity
    assert first.identity == "007a4fda830dd62e"  # as it has always been


def test_another_image_of_the_same_size_and_time_is_another(files: list[Path]) -> None:
    first = read(files)
    status = files[2].stat()
    Image.new("RGB", (8, 40), "red").save(files[2])
    os.utime(files[2], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (files[2].stat().st_size, files[2].stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    changed = read(files)
    assert changed.images[2].flatten(1)[:, 0].tolist() == [255, 0, 0]
    assert changed.identity != first.identity


def test_bytes_are_read_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files[0].parent.parent / "cache"
    monkeypatch.setattr(cache, "SETTLED", -(10**12))  # as if they had been there for long
    first = content_of(files, folder)
    monkeypatch.setattr(cache, "_digest", None)  # calling it would fail
    assert content_of(files, folder) == first
    (known,) = (folder / "contents").iterdir()
    known.write_text("null")
    monkeypatch.undo()
    assert content_of(files, folder) == first
    files[0].touch()
    assert content_of(files, folder) == first
    files[0].write_bytes(b"")
    assert content_of(files, folder) != first


@pytest.mark.parametrize("content", [b"", b"no image", "half"])
def test_a_broken_image_is_named(files: list[Path], content: bytes | str) -> None:
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(UserError, match=r"images/1\.jpg is not a complete image .*; replace or remove the file"):
        read(files)
    assert not list((files[0].parent.parent / "cache").glob("*photos*.part"))
    assert not list((files[0].parent.parent / "cache").glob("*.safetensors"))


@pytest.mark.parametrize(("dtype", "mode"), [("uint16", "I;16"), ("float32", "F")])
def test_more_than_8_bits_are_refused(files: list[Path], dtype: str, mode: str) -> None:
    """Pillow would make all of these pixels white."""
    files[0] = files[0].with_suffix(".tif")
    Image.fromarray(numpy.full((9, 9), 30_000, dtype)).save(files[0])
    with pytest.raises(UserError, match=rf"0\.tif has pixels of more than 8 bits \(mode {mode}\); save it with 8"):
        read(files)


@pytest.mark.parametrize("size", [7, 16])
def test_a_flipped_bit_is_told_mended_and_never_used(
    files: list[Path], size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it is, but for the spaces before the pixels, which are none of a value."""
    rows = torch.arange(len(files))
    good = read(files, size)(rows)
    path = cached_file(files)
    whole = path.read_bytes()
    positions = [*range(0, 600, 7), *range(4096, len(whole), 97), *range(len(whole) - 70, len(whole), 3)]
    for position in positions:
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        found = read(files, size)
        assert found(rows).equal(good)
        assert re.search(r"photos-\w+\.safetensors is damaged.* (again|rebuilding it)\n", capsys.readouterr().err), (
            position
        )
        assert path.read_bytes() == whole


def test_a_bit_that_flips_while_the_file_is_in_use_is_not_used(files: list[Path]) -> None:
    found = read(files)
    good = found(torch.tensor([3, 1]))
    with found.path.open("r+b") as file:
        file.seek(-len(files) * 16 - 5, os.SEEK_END)  # of the last image
        file.write(b"\0\0\0\0")
    assert not found.images[3].equal(good[0])
    assert found(torch.tensor([3, 1])).equal(good)
    assert found.images[3].equal(good[0])  # mended for all who read the file


def test_a_damaged_image_whose_original_has_changed_ends_a_run(files: list[Path]) -> None:
    found = read(files)
    with found.path.open("r+b") as file:
        file.seek(-len(files) * 16 - 5, os.SEEK_END)
        file.write(b"\0\0\0\0")
    Image.new("RGB", (9, 7)).save(files[3])
    with pytest.raises(UserError, match=r"photos-\w+\.safetensors is damaged, and .*3\.png has changed; delete the"):
        found(torch.tensor([3]))


def test_a_cut_file_is_built_anew(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    good = read(files)(torch.arange(4))
    path = cached_file(files)
    path.write_bytes(path.read_bytes()[:-10])
    assert read(files)(torch.arange(4)).equal(good)
    assert "is damaged" in capsys.readouterr().err


def test_a_large_decode_is_announced(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pixels, "ANNOUNCED", 4 * 3 * 16 * 16)
    read(files)
    assert capsys.readouterr().err.startswith("decoding 4 images once (0 MiB, ")
    read(files, size=8)
    assert capsys.readouterr().err == ""


def test_what_an_interrupted_build_left_is_removed(files: list[Path]) -> None:
    read(files)
    path = cached_file(files)
    path.unlink()
    left = path.parent / f".{path.name}.killed.part"
    left.write_bytes(b"half")
    read(files)
    assert os.listdir(path.parent) == [path.name]


def test_too_little_space_is_said_before(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MARGIN", 2**60)
    with pytest.raises(UserError, match=r"MiB needed; choose another with data\.cache=DIR"):
        read(files)


def test_several_blocks(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "BLOCK", 1000)
    assert read(files).images.equal(read(files).images)


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (213, 160), (301, 300), (37, 37), (50, 333)])
def test_resized_center_crop_is_torchvision_s(size: tuple[int, int]) -> None:
    from sklearn.datasets import load_sample_images

    transforms = torchvision("transforms")
    photo = Image.fromarray(load_sample_images().images[0]).resize(size)
    for resize, crop in ((256, 224), (37, 32), (32, 32)):
        expected = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(crop)])(photo)
        found = ResizedCenterCrop(resize, crop)
        assert found.image_shape == (3, crop, crop)
        assert numpy.array_equal(numpy.asarray(found(photo)), numpy.asarray(expected))
