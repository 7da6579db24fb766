import torch

from debiaslab.core.randomness import derived_seed, numpy_generator, seed_torch, torch_generator


def test_each_consumer_has_numbers_of_its_own() -> None:
    seeds = {derived_seed(seed, *names) for seed in (0, 1) for names in (("a",), ("b",), ("a", 1), ("a", 2))}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_same_consumer_gets_the_same_numbers() -> None:
    draws = [torch.rand(3, generator=torch_generator(1, "order", 7)) for _ in range(2)]
    assert torch.equal(*draws)
    assert (numpy_generator(1, "x").random(3) == numpy_generator(1, "x").random(3)).all()


def test_seeding_a_block_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seed_torch(1, "initial weights"):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    assert not torch.equal(inside, expected)
