import numpy
import torch
from PIL import Image
from torch import Tensor

from debiaslab.core.vision import torchvision
from debiaslab.datasets.augmentation import CropAndFlip, JitteredCropAndFlip, RandomResizedCropAndFlip, resized_crops
from debiaslab.datasets.preprocessing import ResizedCenterCrop, Stretched

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


def test_on_a_device_the_crops_are_those_of_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (200, 3, 7, 9), dtype=torch.uint8, generator=generator)
    draws = torch.rand(200, 3, generator=generator)
    for change in (CropAndFlip(0), CropAndFlip(3), CropAndFlip(2, flip=False)):
        shift = (draws[:, :2] * (2 * change.padding + 1)).long()
        flip = (draws[:, 2] < 0.5) & change.flip
        assert change(images, torch.arange(200), draws).equal(change._all_at_once(images, shift, flip))
        turned = images.transpose(2, 3)  # not contiguous
        assert change(turned, INDEX, draws).equal(change(turned.contiguous(), INDEX, draws))


def test_every_shift_is_equally_likely() -> None:
    image = torch.zeros(9_000, 1, 5, 5, dtype=torch.uint8)
    image[:, :, 2, 2] = 1
    draws = torch.rand(9_000, 3, generator=torch.Generator().manual_seed(0))
    where = CropAndFlip(1)(image, torch.arange(9_000), draws).sum(dim=(0, 1)).float()
    assert where.sum() == 9_000
    assert where[1:4, 1:4].sum() == 9_000
    assert (where[1:4, 1:4] - 1_000).abs().max() < 120  # 4 standard deviations


# ---- random resized crops

STRETCHED = 64  # pixels, height and width


def photos() -> list[Image.Image]:
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(photo) for photo in load_sample_images().images]  # 640 x 427 pixels


def stretched(images: list[Image.Image], size: int) -> Tensor:
    pixels = [numpy.asarray(Stretched(size)(image)) for image in images]
    return torch.from_numpy(numpy.stack(pixels)).permute(0, 3, 1, 2)


def as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1).float()


def test_a_crop_is_what_torchvision_makes_of_the_original_photo() -> None:
    crops = torchvision("transforms.functional")
    images = photos()
    sizes = torch.tensor([[image.height, image.width] for image in images])
    change = RandomResizedCropAndFlip(224, sizes)
    draws = torch.rand(12, change.num_draws, generator=torch.Generator().manual_seed(0))
    index = torch.arange(12) % len(images)
    found = change(stretched(images, 256)[index], index, draws)
    corners, shapes = change.random_boxes(sizes[index].float(), draws[:, :-1])
    assert found.shape == (12, 3, 224, 224)
    differences = []
    for number in range(12):
        (top, left), (height, width) = corners[number].long().tolist(), shapes[number].long().tolist()
        cropped = crops.resized_crop(images[index[number]], top, left, height, width, [224, 224])
        expected = as_tensor(cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draws[number, -1] < 0.5 else cropped)
        differences.append(float((found[number] - expected).abs().mean()))
        assert (found[number] - expected.flip(2)).abs().mean() > 3 * differences[-1]
    assert sum(differences) / 12 < 4  # of 255; the small crops are blurred by stretching
    assert max(differences) < 8


def test_a_crop_of_an_image_that_was_not_stretched_is_exact() -> None:
    # enlarged, so that no filter against aliasing is at work; torchvision rounds, and stops at the edges of the box
    crops = torchvision("transforms.functional")
    image = photos()[0].resize((STRETCHED, STRETCHED))
    change = RandomResizedCropAndFlip(STRETCHED, torch.tensor([[STRETCHED, STRETCHED]]))
    draws = torch.rand(20, change.num_draws, generator=torch.Generator().manual_seed(1))
    draws[:, -1] = 0.9
    index = torch.zeros(20, dtype=torch.int64)
    found = change(stretched([image], STRETCHED)[index], index, draws)
    corners, shapes = change.random_boxes(torch.full((20, 2), float(STRETCHED)), draws[:, :-1])
    for number in range(20):
        (top, left), (height, width) = corners[number].long().tolist(), shapes[number].long().tolist()
        expected = as_tensor(crops.resized_crop(image, top, left, height, width, [STRETCHED, STRETCHED]))
        difference = (found[number] - expected).abs()[:, 3:-3, 3:-3]
        assert difference.max() < 1.5


def test_boxes_are_distributed_as_torchvision_s() -> None:
    boxes_of = torchvision("transforms").RandomResizedCrop.get_params
    for height, width in ((375, 500), (500, 333), (100, 600)):
        change = RandomResizedCropAndFlip(224, torch.tensor([[height, width]]))
        draws = torch.rand(4_000, change.num_draws, generator=torch.Generator().manual_seed(0))
        sizes = torch.tensor([[float(height), float(width)]]).expand(4_000, -1)
        corner, shape = change.random_boxes(sizes, draws[:, :-1])
        assert ((corner >= 0) & (shape >= 1) & (corner + shape <= sizes)).all()
        blank = torch.empty(3, height, width)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            boxes = [boxes_of(blank, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4_000)]
        expected = torch.tensor(boxes, dtype=torch.float32)
        found = torch.cat([corner, shape], dim=1)
        for ours, theirs in zip(marginals(found), marginals(expected), strict=True):
            values = torch.cat([ours, theirs]).sort().values
            shares = [torch.searchsorted(x.sort().values, values, right=True) / len(x) for x in (ours, theirs)]
            assert (shares[0] - shares[1]).abs().max() < 0.04  # Kolmogorov-Smirnov, p = 0.003


def marginals(boxes: Tensor) -> list[Tensor]:
    top, left, height, width = boxes.unbind(dim=1)
    return [top, left, height, width, height * width, width / height]


def test_the_plain_view_is_the_middle() -> None:
    image = photos()[0]
    change = RandomResizedCropAndFlip(224, torch.tensor([[image.height, image.width]]))
    plain = change(stretched([image], 256), torch.tensor([0]), None)[0]
    expected = as_tensor(ResizedCenterCrop(256, 224)(image))
    assert (plain - expected).abs().mean() < 5
    assert (plain - as_tensor(image.resize((224, 224)))).abs().mean() > 15


def test_the_change_follows_the_index_and_moves_to_a_device() -> None:
    images = stretched(photos(), STRETCHED)
    change = RandomResizedCropAndFlip(16, torch.tensor([[427, 640], [640, 427]]))
    draws = torch.rand(2, change.num_draws, generator=torch.Generator().manual_seed(3))
    both = change(images, torch.tensor([0, 1]), draws)
    assert both[1].equal(change(images[1:], torch.tensor([1]), draws[1:])[0])
    assert not both[1].equal(change(images[1:], torch.tensor([0]), draws[1:])[0])
    assert change.to(torch.device("meta")).sizes.device.type == "meta"


# ---- clips


def test_all_frames_of_a_clip_have_one_box() -> None:
    clips = torch.randint(0, 256, (2, 3, 5, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.1, 0.3], [0.0, 0.2]]), torch.tensor([[0.5, 0.6], [0.5, 0.8]])
    flip = torch.tensor([False, True])
    found = resized_crops(clips, *boxes, 6, flip)
    assert found.shape == (2, 3, 5, 6, 6)
    for frame in range(5):
        assert found[:, :, frame].equal(resized_crops(clips[:, :, frame], *boxes, 6, flip))


def places(size: int, count: int) -> Tensor:
    """Images [count, 2, size, size] whose channels are the row and the column of each pixel, from 0 to 250."""
    steps = (torch.arange(size) + 0.5) / size * 250
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij")).expand(count, -1, -1, -1)


def test_jittered_crops_are_squares_of_the_original() -> None:
    count = 4_000
    sizes = torch.tensor([[240, 320], [300, 200]]).repeat(count // 2, 1)
    draws = torch.rand(count, 4, generator=torch.Generator().manual_seed(0))
    augment = JitteredCropAndFlip(sizes, crop=28, shortest=32, longest=40)
    found = augment(places(64, count), torch.arange(count), draws) / 250
    assert found.shape == (count, 2, 28, 28)
    assert ((found > 0) & (found < 1)).all()
    # what a step in the crop is in pixels of the original
    down = (found[:, 0, 14, 14] - found[:, 0, 13, 14]) * sizes[:, 0]
    across = (found[:, 1, 14, 14] - found[:, 1, 14, 13]) * sizes[:, 1]
    assert torch.allclose(across.abs(), down, rtol=0.02)
    flipped = across < 0
    assert flipped.equal(draws[:, 3] < 0.5)
    # the short side would have 32 to 40 pixels
    short = sizes.amin(dim=1) / down
    assert 31.9 < short.min() < 32.2
    assert 39.8 < short.max() < 40.1
    assert abs(short.mean() - 36) < 0.2
    # crops reach all borders, and are as often on one side as on the other
    middle = found[:, :, 13:15, 13:15].mean(dim=(2, 3))
    reach = (1 - 28 / short[:, None] * sizes.amin(dim=1, keepdim=True) / sizes) / 2
    offset = (middle - 0.5) / reach  # from -1 to 1
    assert -1.01 < offset.min() < -0.99
    assert 0.99 < offset.max() < 1.01
    assert offset.mean(dim=0).abs().max() < 0.05


def test_the_plain_view_is_the_square_in_the_middle() -> None:
    augment = JitteredCropAndFlip(torch.tensor([[240, 320], [300, 200], [100, 100]]))
    found = augment(places(64, 2), torch.tensor([0, 1]), None) / 250
    assert found.shape == (2, 2, 64, 64)
    for (low, high), plane in zip([(0, 1), (1 / 8, 7 / 8), (1 / 6, 5 / 6), (0, 1)], found.flatten(0, 1), strict=True):
        assert abs(float(plane.min()) - low) < 0.02
        assert abs(float(plane.max()) - high) < 0.02
    square = torch.randint(0, 256, (1, 3, 8, 16, 16), dtype=torch.uint8)
    assert torch.allclose(augment(square, torch.tensor([2]), None), square.float(), atol=1e-3)
