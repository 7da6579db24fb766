import torch

from debiaslab.datasets.groups import share_of_every_class, share_of_every_group, usual_pairs


def labels(counts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and biases with so many samples of each pair."""
    table = torch.tensor(counts)
    pairs = torch.cartesian_prod(*(torch.arange(size) for size in table.shape)).repeat_interleave(table.flatten(), 0)
    return pairs[:, 0], pairs[:, 1]


def pairs(counts: list[list[int]]) -> list[list[int]]:
    return usual_pairs(*labels(counts), len(counts), len(counts[0])).int().tolist()


def test_usual_pairs_are_those_above_chance() -> None:
    assert pairs([[95, 2, 3], [1, 97, 2], [2, 2, 96]]) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    # CelebA's training images: (not blond, blond) x (women, men), most of either are women
    assert pairs([[71_629, 66_874], [22_880, 1_387]]) == [[0, 1], [1, 0]]
    assert pairs([[90, 9, 1], [9, 90, 0]]) == [[1, 0, 0], [0, 1, 0]]  # a rare bias of one class alone is not its usual
    assert pairs([[40, 10], [5, 45], [41, 9]]) == [[1, 0], [0, 1], [1, 0]]  # several classes may share one


def test_independent_pairs_are_not_usual() -> None:
    assert pairs([[30, 10], [60, 20]]) == [[0, 0], [0, 0]]
    assert pairs([[30, 30, 0], [0, 0, 60]]) == [[1, 1, 0], [0, 0, 1]]  # a tie


def test_share_of_every_group() -> None:
    group = torch.tensor([0] * 100 + [7] * 9 + [-1] * 3 + [2] * 2)
    chosen = share_of_every_group(group, 1 / 5, seed=0)
    assert [int(chosen[group == label].sum()) for label in (0, 7, -1, 2)] == [20, 1, 1, 0]
    assert share_of_every_group(group, 1 / 5, seed=0).equal(chosen)
    assert not share_of_every_group(group, 1 / 5, seed=1).equal(chosen)


def test_a_class_spares_conflicting_samples_where_its_groups_cannot() -> None:
    """90 aligned samples of class 0, and 18 conflicting ones: two of each other bias."""
    target = torch.zeros(108, dtype=torch.int64)
    bias = torch.tensor([0] * 90 + [*range(1, 10)] * 2)
    chosen = share_of_every_class(target, bias, 1 / 9, seed=0)
    assert (int(chosen[bias == 0].sum()), int(chosen[bias != 0].sum())) == (10, 2)
