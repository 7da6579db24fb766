import pytest
import torch

from debiaslab.methods import per_sample
from debiaslab.methods.per_sample import RelativeDifficulty, RunningLosses

TARGET = torch.tensor([0, 0, 1, 1, 1, 3])  # class 2 has no sample
DECAY = 0.7
TWO = {"first": 0.0, "second": 0.0}


def running_losses(**epsilons: float) -> RunningLosses:
    return RunningLosses(TARGET, num_classes=4, decay=DECAY, epsilons=epsilons or TWO)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    indices = [[0, 2, 5], [1, 2], [0, 1, 3], [2], [0, 2, 3, 5]]  # sample 4 is never in a batch
    return [(torch.tensor(index), torch.rand(2, len(index), generator=generator) + 0.1) for index in indices]


def test_running_loss_is_the_formula_sample_by_sample() -> None:
    running = running_losses()
    expected: list[dict[int, float]] = [{}, {}]
    for index, losses in batches():
        taken = running.update(index, losses)
        for values, new in zip(expected, losses.tolist(), strict=True):
            for i, loss in zip(index.tolist(), new, strict=True):
                values[i] = DECAY * values[i] + (1 - DECAY) * loss if i in values else loss
        for number, values in enumerate(expected):
            assert running.values[number].tolist() == pytest.approx([values.get(i, 0.0) for i in range(6)])
        assert torch.equal(taken, running.values[:, index])
    assert running.seen.tolist() == [1, 1, 1, 1, 0, 1]


def test_normalized_divides_by_the_largest_of_the_class_in_the_whole_training_set() -> None:
    running, index = running_losses(), torch.tensor([0, 2, 5])
    first, second = torch.tensor([1.0, 4.0, 2.0, 8.0, 4.0, 3.0]), torch.tensor([3.0, 1.0, 1.0, 1.0, 2.0, 1.0])
    values = running.update(torch.arange(6), torch.stack((first, second)))
    assert running.normalize(index).tolist() == [[0.25, 0.25, 1.0], [1.0, 0.5, 1.0]]
    assert torch.equal(running.normalize(index, values[:, index]), running.normalize(index))


def test_classes_larger_than_a_row() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (2_000,), generator=generator)
    losses = torch.rand(2, 2_000, generator=generator)
    running = RunningLosses(target, num_classes=4, decay=DECAY, epsilons=TWO)
    running.update(torch.arange(2_000), losses)
    assert torch.equal(running.values, losses)
    largest = torch.stack([losses[:, target == label].amax(dim=1) for label in range(3)], dim=1)
    assert torch.equal(running.class_maxima()[:, :3], largest)
    assert torch.equal(running.normalize(torch.arange(2_000)), losses / largest[:, target])


def test_kept_maxima_of_rows_are_those_of_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (2_000,), generator=generator)
    scanning = RunningLosses(target, num_classes=4, decay=DECAY, epsilons=TWO)
    monkeypatch.setattr(per_sample, "MANY_ROWS", 2)
    keeping = RunningLosses(target, num_classes=4, decay=DECAY, epsilons=TWO)
    for number in range(30):
        index = torch.randperm(2_000, generator=generator)[:100]
        losses = torch.rand(2, 100, generator=generator) / (1 + number)  # maxima fall, too
        assert torch.equal(keeping.update(index, losses), scanning.update(index, losses))
        assert torch.equal(keeping.class_maxima(), scanning.class_maxima())
    resumed = RunningLosses(target, num_classes=4, decay=DECAY, epsilons=TWO)
    resumed.load_state_dict(keeping.state_dict())
    assert (resumed.keeps_maxima, scanning.keeps_maxima) == (True, False)
    assert torch.equal(resumed.class_maxima(), scanning.class_maxima())


def test_a_checkpoint_has_the_values_in_the_order_of_the_samples() -> None:
    running, other = running_losses(), running_losses()
    for index, losses in batches():
        running.update(index, losses)
    state = running.state_dict()
    assert set(state) == {"first.value", "first.seen", "second.value", "second.seen"}
    assert torch.equal(torch.stack((state["first.value"], state["second.value"])), running.values)
    assert state["first.seen"].tolist() == state["second.seen"].tolist() == [True, True, True, True, False, True]
    other.load_state_dict(state)
    assert torch.equal(other.values, running.values)
    assert torch.equal(other.seen, running.seen)
    assert torch.equal(other.normalize(torch.arange(6)), running.normalize(torch.arange(6)))


@pytest.mark.parametrize("key", ["first.value", "second.seen"])
def test_a_checkpoint_without_some_of_it_is_refused(key: str) -> None:
    state = running_losses().state_dict()
    del state[key]
    with pytest.raises(RuntimeError, match=rf"Missing key.*{key}"):
        running_losses().load_state_dict(state)


@pytest.mark.parametrize("key", ["first.value", "second.seen"])
def test_a_checkpoint_of_other_samples_is_refused(key: str) -> None:
    state = running_losses().state_dict()
    with pytest.raises(RuntimeError, match=rf"{key} has 1 samples, not 6"):
        running_losses().load_state_dict(state | {key: state[key][:1]})


def test_a_checkpoint_with_something_else_is_refused() -> None:
    state = running_losses().state_dict() | {"third.value": torch.zeros(6)}
    with pytest.raises(RuntimeError, match=r"Unexpected key.*third.value"):
        running_losses().load_state_dict(state)


def test_a_class_without_loss_normalizes_to_zero() -> None:
    running = running_losses()
    assert running.normalize(torch.arange(6)).tolist() == [[0.0] * 6] * 2
    running.update(torch.tensor([0]), torch.tensor([[2.0], [0.0]]))
    assert running.normalize(torch.arange(6)).tolist() == [[1.0, 0, 0, 0, 0, 0], [0.0] * 6]


def test_epsilon_is_added_to_the_class_maximum() -> None:
    running = running_losses(with_epsilon=1e-8, without=0.0)
    running.update(torch.tensor([0, 1]), torch.tensor([[1e-8, 3e-8], [1e-8, 3e-8]]))
    with_epsilon, without = running.normalize(torch.tensor([0, 1])).tolist()
    assert with_epsilon == pytest.approx([0.25, 0.75])
    assert without == pytest.approx([1 / 3, 1.0])


def test_in_double_precision_too() -> None:
    running = running_losses().double()
    losses = torch.rand(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    running.update(torch.arange(6), losses)
    assert torch.equal(running.update(torch.arange(6), losses), losses)
    running.update(torch.arange(6), 2 * losses)
    torch.testing.assert_close(running.values, (DECAY + 2 * (1 - DECAY)) * losses, rtol=1e-15, atol=0)


def test_a_mean_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="need one loss per sample"):
        running_losses().update(torch.arange(3), torch.tensor([1.0, 2.0]))


def test_weights_compare_the_normalized_losses() -> None:
    difficulty = RelativeDifficulty(TARGET, num_classes=4, decay=DECAY)
    index = torch.tensor([0, 1, 5])
    weight = difficulty.weigh(index, torch.tensor([1.0, 4.0, 7.0]), torch.tensor([3.0, 1.0, 0.0]))
    assert weight.tolist() == pytest.approx([0.25 / 1.25, 1 / (1 + 1 / 3), 1.0])
    all_weights = difficulty.sample_weights()
    assert torch.equal(all_weights[index], weight)
    assert all_weights.isnan().tolist() == [False, False, True, True, True, False]


def test_equal_losses_give_weight_one_half() -> None:
    difficulty = RelativeDifficulty(TARGET, num_classes=4, decay=DECAY)
    for index, (loss, _) in batches():
        assert difficulty.weigh(index, loss, loss).tolist() == pytest.approx([0.5] * len(index))


def test_losses_of_zero_give_finite_weights() -> None:
    difficulty = RelativeDifficulty(TARGET, num_classes=4, decay=DECAY)
    zero = torch.zeros(6)
    assert difficulty.weigh(torch.arange(6), zero, zero).tolist() == [0.0] * 6
