import numpy
import pytest

from debiaslab.datasets.bias import assign_bias
from debiaslab.datasets.coloring import COLORS, build_colored_digits, color_digits
from debiaslab.datasets.digits import read_digits


@pytest.mark.parametrize(("skew", "conflicting"), [(0.05, 3000), (0.02, 1199), (0.01, 598), (0.005, 300)])
def test_number_of_conflicting_images_of_mnist(skew: float, conflicting: int) -> None:
    sizes = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # of MNIST's training classes
    target = numpy.repeat(numpy.arange(10), sizes)
    bias = assign_bias(target, 1 - skew, num_classes=10)
    assert (bias != target).sum() == conflicting


def test_labels_follow_the_order_within_each_class() -> None:
    target = numpy.array([1, 0, 0, 1, 0, 0])
    assert assign_bias(target, 0.5, num_classes=2).tolist() == [0, 0, 0, 1, 1, 1]


def test_colours_scale_with_the_grey_value() -> None:
    digits = numpy.array([[[0, 128, 255]]], dtype=numpy.uint8)
    noise = numpy.zeros((1, 3), dtype=numpy.float32)
    image = color_digits(digits, numpy.array([4]), noise, severity=1)
    assert image.shape == (1, 3, 1, 3)
    assert image[0, :, 0, 2].tolist() == [int(value * 255) for value in COLORS[4]]
    assert image[0, :, 0, 0].tolist() == [0, 0, 0]


def test_splits_and_their_ratios() -> None:
    images, target = read_digits()
    train, test = (images[:1000], target[:1000]), (images[1000:], target[1000:])
    tensors = build_colored_digits(train, test, num_valid=200, skew=0.1, severity=4, seed=0)
    conflicting = {
        split: (tensors[f"{split}/target"] != tensors[f"{split}/bias"]).float().mean()
        for split in ("train", "valid", "test")
    }
    assert tensors["train/images"].shape == (800, 3, 28, 28)
    assert abs(conflicting["train"] - 0.1) < 0.01
    assert abs(conflicting["valid"] - 0.9) < 0.03
    assert abs(conflicting["test"] - 0.9) < 0.03
    assert "valid/images" not in build_colored_digits(train, test, num_valid=0, skew=0.1, severity=4, seed=0)


def test_the_data_are_a_function_of_their_seed() -> None:
    images, target = read_digits()
    part = (images[:50], target[:50])
    first, same, other = (
        build_colored_digits(part, part, num_valid=0, skew=0.1, severity=1, seed=seed)["train/images"]
        for seed in (0, 0, 1)
    )
    assert first.equal(same)
    assert not first.equal(other)
