"""The corruptions, on real CIFAR-10 images (those of the reference file)."""

import importlib.util
from pathlib import Path

import numpy
import pytest
import scipy
from numpy.typing import NDArray

from debiaslab.core.errors import UserError
from debiaslab.datasets.corruptions import CORRUPTIONS, NUM_SEVERITIES, corrupt, weather
from debiaslab.datasets.corruptions.blur import smear
from debiaslab.datasets.corruptions.digital import elastic
from debiaslab.datasets.corruptions.draws import Draws
from debiaslab.datasets.corruptions.drops import equalize
from debiaslab.datasets.corruptions.edges import canny, distance
from debiaslab.datasets.corruptions.pixels import Images, interpolate, magnify
from debiaslab.datasets.corruptions.weather import frost_textures, plasma

GOLDEN = Path(__file__).parent.parent / "golden" / "protocol.npz"
RANDOM = {
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "glass_blur",
    "motion_blur",
    "snow",
    "frost",
    "fog",
    "spatter",
    "elastic",
}
BLURS = [name for name in CORRUPTIONS if name.endswith("blur")]


@pytest.fixture(scope="module")
def images() -> Images:
    with numpy.load(GOLDEN) as file:
        return numpy.ascontiguousarray(file["corruption/input"][:12].transpose(0, 3, 1, 2))


@pytest.fixture(params=CORRUPTIONS)
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "frost" and importlib.util.find_spec(weather.TEXTURES_PACKAGE) is None:
        pytest.skip("frost needs the textures of the package imagecorruptions")
    return str(request.param)


@pytest.mark.parametrize("severity", range(1, NUM_SEVERITIES + 1))
def test_shape_and_type(name: str, severity: int, images: Images) -> None:
    before = images.copy()
    result = corrupt(images, name, severity, range(12))
    assert result.dtype == numpy.uint8
    assert result.shape == images.shape
    assert numpy.array_equal(images, before)
    assert not numpy.shares_memory(result, images)
    assert numpy.array_equal(result, images) == (name == "original")


def test_an_image_depends_on_its_own_seed_alone(name: str, images: Images) -> None:
    together = corrupt(images, name, 3, range(12))
    apart = corrupt(images[4:7], name, 3, range(4, 7))
    assert numpy.array_equal(together[4:7], apart)
    others = corrupt(images, name, 3, range(100, 112))
    assert numpy.array_equal(others, together) == (name not in RANDOM)


def change(images: Images, name: str, severity: int) -> float:
    result = corrupt(images, name, severity, range(len(images)))
    return float(abs(result.astype(float) - images).mean())


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "gaussian_blur", "contrast", "brightness", "jpeg"])
def test_severities_are_in_order(name: str, images: Images) -> None:
    changes = [change(images, name, severity) for severity in range(1, NUM_SEVERITIES + 1)]
    assert changes == sorted(changes)
    assert changes[-1] > 1.5 * changes[0]


@pytest.mark.parametrize("name", [*BLURS, "elastic", "pixelate"])
def test_an_even_image_stays_even(name: str) -> None:
    even = numpy.full((3, 3, 32, 32), 77, numpy.uint8)
    result = corrupt(even, name, 4, range(3))
    assert abs(result.astype(int) - 77).max() <= 1


def test_salt_and_pepper() -> None:
    grey = numpy.full((40, 3, 32, 32), 100, numpy.uint8)
    result = corrupt(grey, "impulse_noise", 5, range(40))
    assert set(numpy.unique(result)) == {0, 100, 255}
    for value in (0, 255):
        assert abs((result == value).mean() - 0.035) < 0.002


def test_saturation_and_brightness_by_hand() -> None:
    pixels = numpy.array([[100, 100, 100], [200, 100, 100], [0, 0, 0], [250, 50, 0]], numpy.uint8)
    images = numpy.broadcast_to(pixels[:, :, None, None], (4, 3, 32, 32)).copy()
    saturated = corrupt(images, "saturate", 4, range(4))[:, :, 0, 0].astype(int)  # saturation times 2, plus 0.1
    assert abs(saturated - [[100, 90, 90], [200, 0, 0], [0, 0, 0], [250, 50, 0]]).max() <= 1
    brighter = corrupt(images, "brightness", 3, range(4))[:, :, 0, 0].astype(int)  # value plus 0.15
    assert abs(brighter - [[138, 138, 138], [238, 119, 119], [38, 38, 38], [255, 51, 0]]).max() <= 1


def test_motion_goes_in_one_direction() -> None:
    dot = numpy.zeros((3, 1, 32, 32), numpy.uint8)
    dot[:, :, 16, 16] = 255
    result = smear(dot, numpy.array([0.0, 90.0, 45.0]), radius=6, sigma=3)
    left, up, diagonal = (numpy.argwhere(image[0] > 0) - 16 for image in result)
    assert (left[:, 0] == 0).all()
    assert (left[:, 1] <= 0).all()
    assert (up[:, 1] == 0).all()
    assert (up[:, 0] <= 0).all()
    assert (diagonal[:, 0] == diagonal[:, 1]).all()
    assert len(left) == len(up) > 6
    assert 255 - len(left) <= int(result[0].sum()) <= 255


def test_glass_only_moves_pixels(images: Images) -> None:
    result = corrupt(images, "glass_blur", 1, range(12))  # its smoothing of 0.05 pixels is none
    assert numpy.array_equal(result[:, :, :2], images[:, :, :2])
    assert numpy.array_equal(result[:, :, :, :2], images[:, :, :, :2])
    sources = numpy.stack([numpy.roll(images, (r, c), (2, 3)) for r in (0, 1) for c in (0, 1)])
    moved = abs(sources.astype(int) - result)[..., 2:, 2:].max(axis=2).min(axis=0) <= 1  # the same one in all channels
    assert moved.all()


@pytest.mark.parametrize(("border", "mode"), [("centre", "mirror"), ("edge", "reflect")])
def test_interpolation_is_scipys(border: str, mode: str, images: Images) -> None:
    values = images[:2] / 255.0
    rows, columns = numpy.random.default_rng(0).uniform(-9, 41, (2, 2, 32, 32))
    ours = interpolate(values, rows, columns, border)  # type: ignore[arg-type]
    for index in range(2):
        for channel in range(3):
            theirs = scipy.ndimage.map_coordinates(
                values[index, channel], [rows[index], columns[index]], order=1, mode=mode
            )
            assert abs(ours[index, channel] - theirs).max() < 1e-12


def test_elastic_without_strength_is_no_change(images: Images) -> None:
    result = elastic(images, Draws(range(12)), shift=0, sigma=0, affine=0)
    assert abs(result.astype(int) - images).max() <= 1


def test_magnified_by_one_is_no_change(images: Images) -> None:
    values = images / 255.0
    assert numpy.array_equal(magnify(values, 1), values)
    ramp = numpy.broadcast_to(numpy.arange(32.0), (32, 32))
    assert abs(numpy.diff(magnify(ramp, 2)[16])[1:-1] - 0.5).max() < 0.05


def test_plasma_covers_its_range_and_repeats() -> None:
    clouds = plasma(Draws(range(20)), 32, decay=2)
    assert (clouds.min(axis=(1, 2)) == 0).all()
    assert (clouds.max(axis=(1, 2)) == 1).all()
    step = abs(numpy.diff(clouds, axis=1)).mean()
    assert abs(clouds[:, 0] - clouds[:, -1]).mean() < 2 * step  # as near as neighbours
    smoother = plasma(Draws(range(20)), 32, decay=3)
    assert abs(numpy.diff(smoother, axis=1)).mean() < step


def square() -> NDArray[numpy.uint8]:
    image = numpy.zeros((2, 32, 32), numpy.uint8)
    image[0, 10:20, 10:20] = 200
    return image


def test_edges_of_a_square() -> None:
    edges = canny(square(), 50, 150)
    assert not edges[1].any()
    rows, columns = numpy.nonzero(edges[0])
    assert {rows.min(), columns.min()} <= {9, 10}
    assert {rows.max(), columns.max()} <= {19, 20}
    assert not edges[0, 11:19, 11:19].any()
    assert 30 <= edges[0].sum() <= 44
    faint = (square() > 0) * numpy.uint8(20)  # gradient: 80, at the corners 120
    assert canny(faint, 50, 150).sum() == 0
    assert canny(faint, 50, 100).sum() == canny(square(), 50, 150).sum()
    assert canny(faint, 100, 100).sum() <= 8


def test_distance_from_edges() -> None:
    edges = numpy.random.default_rng(0).random((3, 32, 32)) < 0.01
    ours = distance(edges, 20)
    for image, found in zip(edges, ours, strict=True):
        exact = scipy.ndimage.distance_transform_edt(~image).clip(max=20)
        assert (abs(found - exact) <= 0.03 * exact).all()  # steps of three lengths come so close


def test_equalized() -> None:
    image = numpy.array([[[7, 7], [9, 200]], [[5, 5], [5, 5]]], numpy.uint8)
    assert equalize(image).tolist() == [[[0, 0], [128, 255]], [[5, 5], [5, 5]]]


def test_frost_without_its_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, images: Images) -> None:
    frost_textures.cache_clear()
    monkeypatch.setattr(weather, "textures_folder", lambda: tmp_path / "frost")
    with pytest.raises(
        UserError, match=r"frost needs .* imagecorruptions; .*pip install .*imagecorruptions=="
    ) as error:
        corrupt(images, "frost", 1, range(12))
    assert "\n" not in str(error.value)
    (tmp_path / "frost").mkdir()
    with pytest.raises(UserError, match=r"frost/frost1\.png is missing or not the expected frost texture"):
        frost_textures()


def test_folder_of_frost_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weather, "find_spec", lambda name: None)
    assert weather.textures_folder().parts[-2:] == ("imagecorruptions", "frost")


def test_unknown_corruption_and_severity(images: Images) -> None:
    with pytest.raises(UserError, match="unknown corruption 'smow'; did you mean 'snow'"):
        corrupt(images, "smow", 1, range(12))
    with pytest.raises(ValueError, match="severity=6: must be 1 to 5"):
        corrupt(images, "snow", 6, range(12))
