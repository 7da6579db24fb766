from dataclasses import replace
from typing import Any

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import METHODS, Method
from debiaslab.methods.base import Task
from debiaslab.models import Networks, architecture
from debiaslab.training.single_images import has_single_image, require_no_single_image

LEAVES_OUT_LAST = ("denetdm",)  # as its authors' code, whatever the settings
RESAMPLES = ("afr", "group_dro", "rwg", "rwy", "subg", "suby")  # there `Batches` leaves a single image out
SMALL = architecture("simple_conv", {"widths": [4], "f_kernel": 1})


def built(name: str, data: BiasedDataset, **hparams: Any) -> Method:
    if hasattr(METHODS[name].Config, "drop_last"):
        hparams |= {"drop_last": False}
    networks = Networks(SMALL, data.train.image_shape, data.num_classes, 1)
    return METHODS[name](METHODS[name].Config(**hparams), networks, Task(data.num_classes, data.train.target, 1))


@pytest.fixture
def images(digits: BiasedDataset) -> BiasedDataset:
    """65 training images of one pixel: one value per channel, as a deep network has it of 32 x 32 pixels."""
    chosen = digits.train.select(torch.arange(65))
    return replace(digits, train=replace(chosen, images=chosen.all_images()[:, :, 14:15, 14:15]))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in LEAVES_OUT_LAST + RESAMPLES])
def test_every_method_is_told_before_it_is_trained(images: BiasedDataset, name: str) -> None:
    method = built(name, images, batch_size=64, epochs=1)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    expected = "65 training images in batches of 64 leave a batch of one image in phase .*; use .*batch_size=63 or 65$"
    with pytest.raises(UserError, match=expected):
        require_no_single_image(method, images)
    assert all(value.equal(before[key]) for key, value in method.state_dict().items())
    for size in (63, 65):
        require_no_single_image(built(name, images, batch_size=size, epochs=1), images)


@pytest.mark.parametrize("name", LEAVES_OUT_LAST)
def test_a_method_that_always_leaves_out_the_last_batch_meets_none(images: BiasedDataset, name: str) -> None:
    require_no_single_image(built(name, images, batch_size=64, epochs=1), images)
    with pytest.raises(
        UserError, match=r"batches of 1 leave a batch of one image .*; use method\.hparams\.batch_size=2$"
    ):
        require_no_single_image(built(name, images, batch_size=1, epochs=1), images)


def test_what_can_be_trained_on_one_image_is(images: BiasedDataset) -> None:
    large = replace(images, train=replace(images.train, images=images.train.all_images().repeat(1, 1, 2, 2)))
    require_no_single_image(built("erm", large, batch_size=64, epochs=1), large)
    require_no_single_image(built("erm", images, batch_size=64, epochs=None, num_steps=1), images)


def test_which_batches_have_one_image(images: BiasedDataset) -> None:
    (phase,) = built("erm", images, batch_size=64, epochs=1).phases()
    assert [number for number in range(1, 200) if has_single_image(phase, number)] == [1, 65, 129, 193]
    assert not has_single_image(replace(phase, drop_last=True), 65)
    assert has_single_image(replace(phase, batch_size=1, drop_last=True), 65)
