"""What is read of an image file is what a viewer shows of it."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy
import pytest
from numpy.typing import NDArray
from PIL import Image

from debiaslab.datasets.image_decoding import BrokenImage, read_image

SIDEWAYS = {  # orientation -> how a picture with it is stored
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: numpy.rot90(image),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: numpy.rot90(image, -1),
}
RED, GREEN, WHITE = [255, 0, 0], [0, 255, 0], [255, 255, 255]


def decoded(path: Path) -> NDArray[numpy.uint8]:
    return read_image(path, lambda image: image)[0]


@pytest.fixture
def picture() -> NDArray[numpy.uint8]:
    return numpy.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=numpy.uint8)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", SIDEWAYS)
def test_pictures_are_upright(tmp_path: Path, picture: NDArray[numpy.uint8], kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    flat = picture if kind != "jpg" else numpy.full_like(picture, 255) * (numpy.arange(6) < 3)[:, None, None]
    stored = Image.fromarray(numpy.ascontiguousarray(SIDEWAYS[orientation](flat)))
    path = tmp_path / f"photo.{kind}"
    stored.save(
        path, exif=exif, **({"lossless": True} if kind == "webp" else {"quality": 100} if kind == "jpg" else {})
    )
    found, size = read_image(path, lambda image: image)
    assert size == [6, 9]
    assert numpy.abs(found.astype(int) - flat).max() <= (3 if kind == "jpg" else 0)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_nonsensical_orientation_is_ignored(tmp_path: Path, picture: NDArray[numpy.uint8]) -> None:
    path = tmp_path / "photo.png"
    for exif in (
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0",
    ):
        Image.fromarray(picture).save(path, exif=exif)
        assert numpy.array_equal(decoded(path), picture)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    """Hidden colours do not count; half transparent ones are mixed."""
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    image.putpixel((2, 0), (0, 0, 0, 51))
    image.convert(mode).save(tmp_path / "x.png")
    assert decoded(tmp_path / "x.png")[0].tolist() == [WHITE, [0, 0, 0], [204, 204, 204]]


def test_an_opaque_alpha_channel_changes_nothing(tmp_path: Path, picture: NDArray[numpy.uint8]) -> None:
    image = Image.fromarray(picture)
    image.putalpha(255)
    image.save(tmp_path / "x.png")
    assert numpy.array_equal(decoded(tmp_path / "x.png"), picture)


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_a_transparent_color_of_a_palette_is_white(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette(RED + GREEN)
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "opaque.png")
    assert decoded(tmp_path / "opaque.png")[0].tolist() == [RED, GREEN]
    image.save(tmp_path / "x.png", transparency=transparency)
    assert decoded(tmp_path / "x.png")[0].tolist() == [WHITE, GREEN]


def test_a_transparent_color_is_white(tmp_path: Path) -> None:
    for mode, color, transparent in (("RGB", (255, 0, 0), (255, 0, 0)), ("L", 7, 7), ("1", 0, 0)):
        Image.new(mode, (1, 1), color).save(tmp_path / "x.png", transparency=transparent)
        assert decoded(tmp_path / "x.png")[0].tolist() == [WHITE]


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tif"])
def test_the_first_of_several_pictures_counts(tmp_path: Path, kind: str) -> None:
    first, second = (Image.new("RGB", (4, 4), color) for color in ("red", "blue"))
    lossless: dict[str, Any] = {"lossless": True} if kind == "webp" else {}
    first.save(tmp_path / f"x.{kind}", save_all=True, append_images=[second], **lossless)
    assert decoded(tmp_path / f"x.{kind}")[0, 0].tolist() == RED


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(("channels", "color_type"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_of_16_bits_in_a_png_the_upper_ones_count(tmp_path: Path, channels: int, color_type: int) -> None:
    values = numpy.full((2, 2, channels), 0x7FFF, ">u2")
    if channels in (2, 4):
        values[..., -1] = 0xFFFF
    lines = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 2, 2, 16, color_type, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert (decoded(tmp_path / "x.png") == 0x7F).all()


def test_cmyk(tmp_path: Path) -> None:
    for kind in ("jpg", "tif"):
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / f"x.{kind}")
        assert numpy.abs(decoded(tmp_path / f"x.{kind}")[0, 0].astype(int) - RED).max() <= 3


def test_very_large_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    Image.new("1", (20_000, 10_000)).save(path)
    with pytest.raises(
        BrokenImage,
        match=r"x\.png has 20000 x 10000 pixels, more than 178,956,970; .* set .* DEBIAS_MAX_PIXELS=200000000$",
    ):
        decoded(path)
    monkeypatch.setenv("DEBIAS_MAX_PIXELS", "200000000")
    small, size = read_image(path, lambda image: image.reduce(1000))
    assert (small.shape, size) == ((10, 20, 3), [10_000, 20_000])
    monkeypatch.setenv("DEBIAS_MAX_PIXELS", "many")
    with pytest.raises(Exception, match=r"DEBIAS_MAX_PIXELS=many: must be a number of pixels"):
        decoded(path)


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(Exception, match=r"x\.png is a pipe, a socket or a device; give a file"):
        decoded(tmp_path / "x.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, of damaged EXIF
def test_damage_is_told_or_does_not_matter(tmp_path: Path, picture: NDArray[numpy.uint8]) -> None:
    generator = numpy.random.default_rng(1)
    shapes, refused = [], 0
    for kind in ("png", "jpg", "gif", "bmp", "webp", "tif"):
        path = tmp_path / f"x.{kind}"
        exif = Image.Exif()
        exif[0x0112] = 6
        options: dict[str, Any] = {} if kind in ("gif", "bmp") else {"exif": exif}
        Image.fromarray(picture).save(path, **options)
        whole = path.read_bytes()
        for attempt in range(60):
            content = bytearray(whole[: generator.integers(1, len(whole) + 1)] if attempt % 2 else whole)
            for position in generator.integers(0, len(content), 3):
                content[position] = generator.integers(0, 256)
            path.write_bytes(content)
            try:
                shapes.append(decoded(path).shape)
            except BrokenImage as error:
                refused += "x." in str(error)
    assert len(shapes) + refused == 6 * 60
    assert len(shapes) > 20
    assert refused > 100
    assert {len(shape) for shape in shapes} == {3}
