import torch

from datasets.augmentation import CropAndFlip

IMAGES = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
INDEX = torch.arange(2)


def test_crop_and_flip_one_by_one() -> None:
    # shifts (0, 4) of 0 to 4 rows and columns, not flipped; the middle (2, 2), flipped
    draws = torch.tensor([[0.0, 0.99, 0.5], [0.5, 0.5, 0.49]])
    changed = CropAndFlip(2)(IMAGES, INDEX, draws)
    first = torch.zeros(3, 4, 5, dtype=torch.uint8)
    first[:, 2:, :3] = IMAGES[0, :, :2, 2:]
    assert changed[0].equal(first)
    assert changed[1].equal(IMAGES[1].flip(2))


def test_without_padding_only_the_flip_is_left() -> None:
    draws = torch.tensor([[0.99, 0.99, 0.1], [0.99, 0.99, 0.9]])
    assert CropAndFlip(0)(IMAGES, INDEX, draws).equal(torch.stack([IMAGES[0].flip(2), IMAGES[1]]))


def test_without_the_flip_only_the_crop_is_left() -> None:
    draws = torch.tensor([[0.5, 0.5, 0.1], [0.5, 0.99, 0.1]])
    changed = CropAndFlip(1, flip=False)(IMAGES, INDEX, draws)
    assert changed[0].equal(IMAGES[0])
    assert changed[1, :, :, :-1].equal(IMAGES[1, :, :, 1:])
    assert changed[1, :, :, -1].eq(0).all()


def test_the_plain_view_is_the_image() -> None:
    assert CropAndFlip(4)(IMAGES, INDEX, None).equal(IMAGES)


def test_every_shift_is_equally_likely() -> None:
    image = torch.zeros(9_000, 1, 5, 5, dtype=torch.uint8)
    image[:, :, 2, 2] = 1
    draws = torch.rand(9_000, 3, generator=torch.Generator().manual_seed(0))
    where = CropAndFlip(1)(image, torch.arange(9_000), draws).sum(dim=(0, 1)).float()
    assert where.sum() == 9_000
    assert where[1:4, 1:4].sum() == 9_000
    assert (where[1:4, 1:4] - 1_000).abs().max() < 120  # 4 standard deviations
