"""Texture clusters: images clustered by texture, as bias labels for data that have none.

Bahng et al. (ReBias, ICML 2020), sec. 4.3: k-means on the L2-normalised gram matrices of VGG-16's conv1_2 features. The
features are taken before the ReLU. Three clusterings, each from a different random state.
"""

import csv
import hashlib
import pickle
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from debiaslab.core.errors import UserError
from debiaslab.core.files import require_regular
from debiaslab.core.progress_bar import progress_bar
from debiaslab.datasets.base import IMAGENET_STATISTICS
from debiaslab.datasets.cache import content_of, fingerprint, load_or_build
from debiaslab.datasets.pixels import MappedImages

VERSION = 1  # of the clusters; increment it whenever the result changes
NUM_CLUSTERS = 9
NUM_CLUSTERINGS = 3
STARTS = 10  # random initialisations of each clustering; the best result is used
CHUNK = 8  # images to compute features of at a time

VGG16 = "https://download.pytorch.org/models/vgg16-397923af.pth"  # torchvision's; the name ends with the checksum
SHAPES = {  # of conv1_1 and conv1_2, named as in torchvision
    "features.0.weight": (64, 3, 3, 3),
    "features.0.bias": (64,),
    "features.2.weight": (64, 64, 3, 3),
    "features.2.bias": (64,),
}
COLUMNS = ("path", "category", *(f"cluster{number}" for number in range(1, NUM_CLUSTERINGS + 1)))


def vgg16_file() -> Path:
    """The file of the VGG-16 weights in torch.hub's folder."""
    return Path(torch.hub.get_dir()) / "checkpoints" / VGG16.rpartition("/")[2]


def texture_clusters(images: MappedImages, weights: dict[str, Tensor], folder: Path) -> Tensor:
    """The cluster of every image in each clustering, int64 [N, 3] of 0 to 8; computed once and cached in `folder`.

    `weights` are those of `first_layers`. Raises `UserError` for fewer images than clusters.
    """
    if len(images) < NUM_CLUSTERS:
        raise UserError(f"{len(images)} images are too few for {NUM_CLUSTERS} clusters; use data.clusters=none")
    key = fingerprint(version=VERSION, images=images.identity, weights=_checksum(weights))

    def build() -> dict[str, Tensor]:
        return {"clusters": clusterings(gram_matrices(images, weights))}

    return load_or_build(folder, "texture_clusters", key, build)["clusters"]


def gram_matrices(images: MappedImages, weights: dict[str, Tensor]) -> Tensor:
    """Gram matrices of the conv1_2 features of each image, L2-normalised: float32 [N, 64 * 64]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET_STATISTICS)
    first, first_bias, second, second_bias = (weights[name] for name in SHAPES)
    chunks = torch.split(torch.arange(len(images)), CHUNK)
    grams = []
    for rows in progress_bar(chunks, len(chunks), f"textures of {len(images):,} images"):
        inputs = (images(rows) / 255 - mean) / std
        features = conv2d(conv2d(inputs, first, first_bias, padding=1).relu(), second, second_bias, padding=1)
        flat = features.flatten(2)  # [B, 64, H * W]
        gram = (flat @ flat.transpose(1, 2)).flatten(1)
        grams.append(gram / gram.norm(dim=1, keepdim=True))
    return torch.cat(grams)


def clusterings(features: Tensor) -> Tensor:
    """Cluster features float32 [N, D] by k-means from three random states: labels int64 [N, 3]."""
    from sklearn.cluster import KMeans  # a slow import, needed only to fill the cache

    values = features.numpy()
    labels = [KMeans(NUM_CLUSTERS, n_init=STARTS, random_state=seed).fit_predict(values) for seed in range(3)]
    return torch.stack([torch.from_numpy(values).long() for values in labels], dim=1)


def as_bias(clusters: Tensor) -> Tensor:
    """Encode the clusters int64 [N, 3] as one label int64 [N]; the last clustering changes fastest."""
    places = NUM_CLUSTERS ** torch.arange(NUM_CLUSTERINGS - 1, -1, -1)
    return (clusters * places).sum(dim=1)


# ---- the network


def first_layers(file: str | None, folder: Path) -> dict[str, Tensor]:
    """Load the weights of VGG-16's first two convolutions, trained on ImageNet, named as in torchvision.

    From `file`, torchvision's state dict, or downloaded (528 MB, once); cached in `folder` without the other layers.
    Raises `UserError` if they are missing or cannot be read.
    """
    if file is None:
        return load_or_build(folder, "vgg16_first_layers", fingerprint(url=VGG16), _downloaded)
    path = Path(file)
    if not path.exists():
        raise UserError(f"cannot read data.vgg16={file}: No such file or directory")
    key = fingerprint(content=content_of([path], folder))
    return load_or_build(folder, "vgg16_first_layers", key, lambda: _read(path))


def _downloaded() -> dict[str, Tensor]:
    path = vgg16_file()
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(VGG16, str(path), hash_prefix=path.stem.rpartition("-")[2])
        except (OSError, HTTPException, RuntimeError) as error:
            raise UserError(
                f"texture clusters need torchvision's VGG-16, and {VGG16} could not be downloaded ({error}); put that"
                f" file into {path.parent}, or name it with data.vgg16=FILE, or do without with data.clusters=none"
            ) from None
    return _read(path)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights = {name: state[name].float().clone() for name in SHAPES}
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        raise UserError(f"cannot read the VGG-16 in {path}: damaged, or not a state dict saved by torch") from None
    except (KeyError, TypeError, AttributeError, IndexError):
        weights = {}
    if {name: tuple(value.shape) for name, value in weights.items()} != SHAPES:
        raise UserError(f"{path} is not torchvision's VGG-16: it must have {', '.join(SHAPES)}")
    return weights


def _checksum(weights: dict[str, Tensor]) -> str:
    return hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in SHAPES)).hexdigest()


# ---- the authors' clusters


def read_clusters(file: str, images: Sequence[tuple[str, str]]) -> Tensor:
    """Read the clusters int64 [N, 3] of `images`, pairs of "<synset>/<file name>" and class name.

    `file` is the table of the ReBias code, a CSV file with the columns path, category and cluster1 to cluster3. Raises
    `UserError` if it cannot be read, or does not fit the images.
    """
    path = Path(file)
    try:
        require_regular(path)
        with path.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read data.clusters={file}: {error}; vgg16, none, or a CSV file") from None
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise UserError(f"data.clusters={file}: must be a CSV file with the columns {', '.join(COLUMNS)}")
    table = {row["path"]: row for row in rows}
    if len(table) < len(rows):
        raise UserError(f"data.clusters={file}: an image has more than one row")
    clusters = []
    for image, category in images:
        if image not in table:
            raise UserError(f"data.clusters={file}: no row for the image {image}")
        found, *labels = (table[image][name] for name in COLUMNS[1:])
        if found != category:
            raise UserError(f"data.clusters={file}: {image} has category {found!r}, and is of class {category}")
        if any(label not in [str(cluster) for cluster in range(NUM_CLUSTERS)] for label in labels):
            raise UserError(f"data.clusters={file}: {image} has clusters {labels}, expected 0 to {NUM_CLUSTERS - 1}")
        clusters.append([int(label) for label in labels])
    return torch.tensor(clusters)
