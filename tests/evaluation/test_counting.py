import torch
from torch import Tensor

from debiaslab.datasets import BiasedDataset, Split
from debiaslab.datasets.inputs import as_input
from debiaslab.evaluation import counting
from debiaslab.evaluation.counting import count_groups


def test_counts_equal_a_count_one_by_one(digits: BiasedDataset) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3 * 28 * 28, 10, generator=generator)

    def logits(image: Tensor) -> dict[str, Tensor]:
        values = image.flatten(1) @ weights
        return {"plain": values, "negated": -values}

    counts = count_groups(logits, digits.test, digits)
    for branch, sign in (("plain", 1), ("negated", -1)):
        correct, total = torch.zeros(10, 10, dtype=torch.int64), torch.zeros(10, 10, dtype=torch.int64)
        for image, target, bias in zip(digits.test.all_images(), digits.test.target, digits.test.bias, strict=True):
            predicted = (sign * (image.flatten() / 255) @ weights).argmax()
            total[target, bias] += 1
            correct[target, bias] += int(predicted == target)
        assert counts[branch].correct.tolist() == correct.tolist()
        assert counts[branch].total.tolist() == total.tolist()


def test_chunks_do_not_matter(digits: BiasedDataset, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def logits(image: Tensor) -> dict[str, Tensor]:
        return {"mean": image.mean(dim=(1, 2, 3))[:, None] * torch.arange(10.0)}

    whole = count_groups(logits, digits.test, digits)["mean"]
    for limit in ("MAX_CHUNK", "MIN_CHUNK"):
        monkeypatch.setattr(counting, limit, 7)
    parts = count_groups(logits, digits.test, digits)["mean"]
    assert whole.correct.tolist() == parts.correct.tolist()
    assert whole.correct.sum() > 0


def test_more_bias_classes_than_targets() -> None:
    split = Split(torch.zeros(3, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1]))
    counts = count_groups(
        lambda image: {"x": torch.tensor([[0.0, 1.0]]).repeat(len(image), 1)},
        split,
        BiasedDataset("three", split, None, split, 2, 3, "three"),
    )
    assert counts["x"].total.tolist() == [[0, 0, 1], [1, 1, 0]]
    assert counts["x"].correct.tolist() == [[0, 0, 0], [1, 1, 0]]


def test_input_range() -> None:
    assert as_input(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist() == [[[[0.0, 1.0]]]]
