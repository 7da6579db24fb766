"""Networks on chosen images."""

from dataclasses import replace

import torch
from torch import Tensor

from debiaslab.core.randomness import torch_generator
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.datasets.splits import ImagesOnFile
from debiaslab.evaluation.outputs import draw_stratified, outputs_at


def test_outputs_of_chosen_images_in_their_order(digits: BiasedDataset) -> None:
    index = torch.tensor([30, 2, 2, 396, 7])
    expected = as_input(digits.test.all_images()[index], digits.normalize).flatten(1)

    def pixels(image: Tensor) -> dict[str, Tensor]:
        return {"all": image.flatten(1), "some": image.flatten(1)[:, :5]}

    found = outputs_at(index, pixels, digits.test, digits)
    assert torch.equal(found["all"], expected)
    assert torch.equal(found["some"], expected[:, :5])
    whole = outputs_at(torch.arange(397), pixels, digits.test, digits)
    assert torch.equal(whole["all"][index], expected)


def test_a_sample_with_several_views_has_their_mean(digits: BiasedDataset) -> None:
    class Views:
        """Rows of grey images whose value is the row plus 10 times the draw."""

        image_shape, num_draws, dtype = (1, 2, 2), 1, torch.uint8

        def __call__(self, rows: Tensor, draws: Tensor | None = None) -> Tensor:
            assert draws is not None
            return (rows + 10 * draws[:, 0]).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).round().to(torch.uint8)

    split = replace(digits.test, images=ImagesOnFile(Views(), torch.arange(397)), views=2)
    found = outputs_at(torch.tensor([3, 5]), lambda image: {"": 255 * image.flatten(1)[:, :1]}, split, digits)
    assert found[""].flatten().tolist() == [5.5, 7.5]  # draws 0 and 1/2


def test_stratified_takes_as_evenly_as_the_groups_allow(digits: BiasedDataset) -> None:
    target = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)
    split = replace(
        digits.test, images=digits.test.all_images()[:73], target=target, bias=torch.zeros(73, dtype=torch.int64)
    )
    for count, expected in ((30, [13, 3, 13]), (9, [3, 3, 3]), (2, [1, 1, 1]), (500, [50, 3, 20])):
        index = draw_stratified(split, digits, count, torch_generator(0, "test"))
        assert torch.bincount(target[index]).tolist() == expected
        assert index.tolist() == sorted(set(index.tolist()))
    first, again, other = (draw_stratified(split, digits, 30, torch_generator(seed, "test")) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
