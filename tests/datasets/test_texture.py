from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy
import pytest
import torch
from torch import Tensor, nn

from debiaslab.core.errors import UserError
from debiaslab.core.vision import torchvision
from debiaslab.datasets import texture
from debiaslab.datasets.pixels import MappedImages, mapped_images
from debiaslab.datasets.preprocessing import ResizedCenterCrop
from debiaslab.datasets.texture import (
    as_bias,
    clusterings,
    first_layers,
    gram_matrices,
    read_clusters,
    texture_clusters,
)
from tests.datasets.imagenet_folders import PhotoParts, make_vgg16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos in `images`, and VGG-16's weights in `vgg16.pth`."""
    folder = tmp_path_factory.mktemp("texture")
    photos = PhotoParts()
    for number in range(30):
        photos.save(folder / "images" / f"{number:02}.png", number)
    make_vgg16(folder / "vgg16.pth")
    return folder


@pytest.fixture(scope="module")
def images(folder: Path) -> MappedImages:
    files = sorted((folder / "images").iterdir())
    return mapped_images(folder / "cache", "photos", files, ResizedCenterCrop(37, 32))


@pytest.fixture(scope="module")
def weights(folder: Path) -> dict[str, Tensor]:
    return first_layers(str(folder / "vgg16.pth"), folder / "cache")


def test_gram_matrices_are_those_of_the_layer(images: MappedImages, weights: dict[str, Tensor], folder: Path) -> None:
    state = torch.load(folder / "vgg16.pth", weights_only=True)
    layers = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1))
    layers.load_state_dict({name.removeprefix("features."): state[name] for name in texture.SHAPES})
    normalize = torchvision("transforms").Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = []
    for row in range(30):
        with torch.no_grad():
            (features,) = layers(normalize(images(torch.tensor([row])) / 255))
        gram = torch.einsum("ahw,bhw->ab", features, features)
        expected.append((gram / gram.square().sum().sqrt()).flatten())
    found = gram_matrices(images, weights)
    assert found.shape == (30, 64 * 64)
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)


def test_the_layers_are_those_of_torchvision_s_vgg16() -> None:
    models = torchvision("models")
    with torch.device("meta"):
        state = models.vgg16(weights=None).state_dict()
    assert {name: tuple(state[name].shape) for name in texture.SHAPES} == texture.SHAPES
    assert models.VGG16_Weights.IMAGENET1K_V1.url == texture.VGG16


def test_clusters_separate_what_is_far_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(9, 20, generator=generator) * 10
    members = torch.arange(90) % 9
    features = centers[members] + torch.randn(90, 20, generator=generator)
    labels = clusterings(features)
    assert labels.shape == (90, 3)
    for clustering in labels.unbind(dim=1):
        pairs = set(zip(members.tolist(), clustering.tolist(), strict=True))
        assert len(pairs) == 9
        assert len({cluster for _, cluster in pairs}) == 9
    assert not labels[:, 0].equal(labels[:, 1])  # other random states, other numbers
    assert clusterings(features).equal(labels)


def test_clusters_are_computed_once(
    images: MappedImages, weights: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = texture_clusters(images, weights, tmp_path)
    assert first.dtype == torch.int64
    assert first.shape == (30, 3)
    assert set(first.flatten().tolist()) == set(range(9))
    calls = []

    def other_features(*_: object) -> Tensor:
        calls.append(1)
        return torch.eye(30)

    monkeypatch.setattr(texture, "gram_matrices", other_features)
    assert texture_clusters(images, weights, tmp_path).equal(first)
    assert not calls
    texture_clusters(images, {name: 2 * values for name, values in weights.items()}, tmp_path)
    assert calls == [1]


def test_too_few_images(images: MappedImages, weights: dict[str, Tensor], tmp_path: Path) -> None:
    few = replace(images, images=images.images[:8])
    with pytest.raises(UserError, match=r"8 images are too few for 9 clusters; use data\.clusters=none"):
        texture_clusters(few, weights, tmp_path)


def test_one_label_for_three_clusterings() -> None:
    clusters = torch.tensor([[0, 0, 0], [0, 0, 8], [0, 1, 0], [8, 8, 8]])
    assert as_bias(clusters).tolist() == [0, 8, 9, 728]


# ---- the network


def test_other_weights_in_the_same_file_are_read_anew(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "vgg16.pth"
    path.write_bytes((folder / "vgg16.pth").read_bytes())
    first = first_layers(str(path), tmp_path)
    assert set(first) == set(texture.SHAPES)  # not the other layers
    state = torch.load(path, weights_only=True)
    torch.save({name: values * 2 for name, values in state.items()}, path)
    assert first_layers(str(path), tmp_path)["features.0.bias"].equal(first["features.0.bias"] * 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"cannot read the VGG-16 in .*vgg\.pth: "),
        (b"<html>not found</html>", r"cannot read the VGG-16 in .*vgg\.pth: "),
        ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, r"vgg\.pth is not torchvision's VGG-16: it must have "),
        ({name: torch.zeros(1) for name in texture.SHAPES}, r"vgg\.pth is not torchvision's VGG-16: it must have "),
        ([1, 2], r"vgg\.pth is not torchvision's VGG-16: it must have "),
        (nn.Linear(2, 2), r"cannot read the VGG-16 in .*vgg\.pth: "),  # code to run: not loaded
    ],
    ids=["empty", "page", "layers missing", "shapes", "list", "module"],
)
def test_a_file_that_is_not_vgg16(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        first_layers(str(path), tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"cannot read data\.vgg16=missing\.pth: No such file"):
        first_layers("missing.pth", tmp_path)


def test_the_download_is_checked_and_its_failure_says_what_to_do(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    asked = []

    def fail(url: str, target: str, hash_prefix: str) -> None:
        asked.append((url, target, hash_prefix))
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError, match=r"or name it with data\.vgg16=FILE, or do without with data\.clusters=none"):
        first_layers(None, tmp_path / "cache")
    path = tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"
    assert asked == [("https://download.pytorch.org/models/vgg16-397923af.pth", str(path), "397923af")]
    path.write_bytes((folder / "vgg16.pth").read_bytes())  # put there by hand
    assert set(first_layers(None, tmp_path / "cache")) == set(texture.SHAPES)


# ---- the authors' table

IMAGES = [("n01/a.JPEG", "frog"), ("n02/b.JPEG", "dog")]
HEADER = "path,category,cluster1,cluster2,cluster3\n"


def test_clusters_are_read_by_image(tmp_path: Path) -> None:
    path = tmp_path / "clusters.csv"
    path.write_text(HEADER + "n02/b.JPEG,dog,1,5,3\nn03/c.JPEG,cat,0,0,0\nn01/a.JPEG,frog,8,0,2\n")
    assert read_clusters(str(path), IMAGES).tolist() == [[8, 0, 2], [1, 5, 3]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read data.clusters=.*No such file.*; vgg16, none, or a CSV file"),
        ("", "must be a CSV file with the columns path, category, cluster1, cluster2, cluster3"),
        ("path,category,cluster1\nn01/a.JPEG,frog,1\n", "must be a CSV file with the columns"),
        (HEADER + "n01/a.JPEG,frog,1,1,1\n", "no row for the image n02/b.JPEG"),
        (HEADER + "n01/a.JPEG,frog,1,1,1\nn01/a.JPEG,frog,2,2,2\n", "an image has more than one row"),
        (HEADER + "n01/a.JPEG,fish,1,1,1\n", "n01/a.JPEG has category 'fish', and is of class frog"),
        (HEADER + "n01/a.JPEG,frog,1,9,1\n", r"n01/a.JPEG has clusters \['1', '9', '1'\], expected 0 to 8"),
        (HEADER + "n01/a.JPEG,frog,1,1\n", r"n01/a.JPEG has clusters \['1', '1', None\], expected 0 to 8"),
    ],
)
def test_a_table_that_does_not_fit(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "clusters.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_clusters(str(path), IMAGES)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_table(tmp_path: Path) -> None:
    path = tmp_path / "cluster_label_1.pth"
    path.write_bytes(numpy.arange(256, dtype=numpy.uint8).tobytes())
    with pytest.raises(UserError, match="vgg16, none, or a CSV file"):
        read_clusters(str(path), IMAGES)
