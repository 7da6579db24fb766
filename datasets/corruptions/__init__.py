"""Twenty corruptions of small images, with the severities of CIFAR-10-C.

Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019;
as used by Learning from Failure (Nam et al., NeurIPS 2020). All are vectorised over images, with numpy and scipy.
"""

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from debiaslab.core.errors import require_known
from debiaslab.core.settings import require
from debiaslab.datasets.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from debiaslab.datasets.corruptions.color import brightness, contrast, saturate
from debiaslab.datasets.corruptions.digital import elastic, jpeg, pixelate
from debiaslab.datasets.corruptions.draws import Draws
from debiaslab.datasets.corruptions.drops import spatter
from debiaslab.datasets.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from debiaslab.datasets.corruptions.pixels import Images
from debiaslab.datasets.corruptions.weather import fog, frost, frost_textures, snow

__all__ = ["CORRUPTIONS", "NUM_SEVERITIES", "Corruption", "corrupt", "load_all"]

NUM_SEVERITIES = 5


@dataclass(frozen=True)
class Corruption:
    """`function(images, draws, *parameters)`, with the parameters of severity 1 to 5."""

    function: Callable[..., Images]
    parameters: tuple[tuple[float, ...], ...]


def original(images: Images, _: Draws) -> Images:
    """No corruption."""
    return images.copy()


# the parameters are documented in the functions
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(gaussian_noise, ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,))),
    "shot_noise": Corruption(shot_noise, ((500,), (250,), (100,), (75,), (50,))),
    "impulse_noise": Corruption(impulse_noise, ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,))),
    "speckle_noise": Corruption(speckle_noise, ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,))),
    "gaussian_blur": Corruption(gaussian_blur, ((0.4,), (0.6,), (0.7,), (0.8,), (1,))),
    "defocus_blur": Corruption(defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass_blur": Corruption(glass_blur, ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))),
    "motion_blur": Corruption(motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom_blur": Corruption(zoom_blur, ((1.06,), (1.11,), (1.16,), (1.21,), (1.26,))),
    "original": Corruption(original, ((),) * NUM_SEVERITIES),
    "snow": Corruption(
        snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": Corruption(frost, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    "fog": Corruption(fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Corruption(brightness, ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))),
    "contrast": Corruption(contrast, ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))),
    "spatter": Corruption(
        spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
    ),
    "elastic": Corruption(
        elastic, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    ),
    "jpeg": Corruption(jpeg, ((80,), (65,), (58,), (50,), (40,))),
    "pixelate": Corruption(pixelate, ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,))),
    "saturate": Corruption(saturate, ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))),
}


def load_all(names: Iterable[str]) -> None:
    """Load everything that the corruptions `names` would load on first use, so that forked processes have it.

    Raises `UserError` if the textures of `frost` are missing.
    """
    importlib.import_module("scipy.ndimage")
    if "frost" in names:
        frost_textures()


def corrupt(images: Images, name: str, severity: int, seeds: Sequence[int]) -> Images:
    """Apply the corruption `name` at `severity` 1 to 5 to `images` uint8 [N, 3, S, S]; returns new images.

    Each image has its own seed, and its result does not depend on the other images. `frost` raises `UserError` if its
    textures are missing.
    """
    require_known("corruption", name, CORRUPTIONS)
    require(1 <= severity <= NUM_SEVERITIES, "severity", severity, f"1 to {NUM_SEVERITIES}")
    corruption = CORRUPTIONS[name]
    return corruption.function(images, Draws(seeds), *corruption.parameters[severity - 1])
