import pytest
import torch

from methods.per_sample import RelativeDifficulty, SampleLossEMA

TARGET = torch.tensor([0, 0, 1, 1, 1, 3])  # class 2 has no sample
DECAY = 0.7


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    indices = [[0, 2, 5], [1, 2], [0, 1, 3], [2], [0, 2, 3, 5]]  # sample 4 is never in a batch
    return [(torch.tensor(index), torch.rand(len(index), generator=generator) + 0.1) for index in indices]


def test_running_loss_is_the_formula_sample_by_sample() -> None:
    ema = SampleLossEMA(TARGET, num_classes=4, decay=DECAY)
    expected: dict[int, float] = {}
    for index, loss in batches():
        ema.update(index, loss)
        for i, value in zip(index.tolist(), loss.tolist(), strict=True):
            expected[i] = DECAY * expected[i] + (1 - DECAY) * value if i in expected else value
        assert ema.value.tolist() == pytest.approx([expected.get(i, 0.0) for i in range(6)])
    assert ema.seen.tolist() == [True, True, True, True, False, True]


def test_normalized_divides_by_the_largest_of_the_class_in_the_whole_training_set() -> None:
    ema = SampleLossEMA(TARGET, num_classes=4, decay=DECAY)
    ema.update(torch.arange(6), torch.tensor([1.0, 4.0, 2.0, 8.0, 4.0, 3.0]))
    assert ema.normalized(torch.tensor([0, 2, 5])).tolist() == pytest.approx([0.25, 0.25, 1.0])


def test_classes_larger_than_a_row() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (2_000,), generator=generator)
    value = torch.rand(2_000, generator=generator)
    ema = SampleLossEMA(target, num_classes=4, decay=DECAY)
    ema.update(torch.arange(2_000), value)
    assert torch.equal(ema.value, value)
    largest = torch.stack([value[target == label].max() for label in range(3)])
    assert torch.equal(ema.normalized(torch.arange(2_000)), value / largest[target])


def test_a_checkpoint_has_the_values_in_the_order_of_the_samples() -> None:
    ema, other = (SampleLossEMA(TARGET, num_classes=4, decay=DECAY) for _ in range(2))
    for index, loss in batches():
        ema.update(index, loss)
    state = ema.state_dict()
    assert set(state) == {"value", "seen"}
    assert torch.equal(state["value"], ema.value)
    other.load_state_dict(state)
    assert torch.equal(other.value, ema.value)
    assert torch.equal(other.normalized(torch.arange(6)), ema.normalized(torch.arange(6)))
    with pytest.raises(RuntimeError, match=r"Missing key.*value"):
        other.load_state_dict({"seen": state["seen"]})


def test_a_class_without_loss_normalizes_to_zero() -> None:
    ema = SampleLossEMA(TARGET, num_classes=4, decay=DECAY)
    assert ema.normalized(torch.arange(6)).tolist() == [0.0] * 6
    ema.update(torch.tensor([0]), torch.tensor([2.0]))
    assert ema.normalized(torch.arange(6)).tolist() == [1.0, 0, 0, 0, 0, 0]


def test_epsilon_is_added_to_the_class_maximum() -> None:
    ema = SampleLossEMA(TARGET, num_classes=4, decay=DECAY, epsilon=1e-8)
    ema.update(torch.tensor([0, 1]), torch.tensor([1e-8, 3e-8]))
    assert ema.normalized(torch.tensor([0, 1])).tolist() == pytest.approx([0.25, 0.75])


def test_a_mean_loss_is_refused() -> None:
    ema = SampleLossEMA(TARGET, num_classes=4, decay=DECAY)
    with pytest.raises(ValueError, match="a loss of each sample"):
        ema.update(torch.arange(3), torch.tensor(1.0))


def test_weights_compare_the_normalized_losses() -> None:
    difficulty = RelativeDifficulty(TARGET, num_classes=4, decay=DECAY)
    index = torch.tensor([0, 1, 5])
    weight = difficulty.update(index, torch.tensor([1.0, 4.0, 7.0]), torch.tensor([3.0, 1.0, 0.0]))
    assert weight.tolist() == pytest.approx([0.25 / 1.25, 1 / (1 + 1 / 3), 1.0])
    all_weights = difficulty.sample_weights()
    assert torch.equal(all_weights[index], weight)
    assert all_weights.isnan().tolist() == [False, False, True, True, True, False]


def test_equal_losses_give_weight_one_half() -> None:
    difficulty = RelativeDifficulty(TARGET, num_classes=4, decay=DECAY)
    for index, loss in batches():
        assert difficulty.update(index, loss, loss).tolist() == pytest.approx([0.5] * len(index))


def test_losses_of_zero_give_finite_weights() -> None:
    difficulty = RelativeDifficulty(TARGET, num_classes=4, decay=DECAY)
    zero = torch.zeros(6)
    assert difficulty.update(torch.arange(6), zero, zero).tolist() == [0.0] * 6
