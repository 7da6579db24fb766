import numpy
import pytest
import torch
from torch import Tensor

from debiaslab.methods.hsic import ESTIMATORS, biased_hsic, median_squared_distance, rbf_kernel, unbiased_hsic


def pair(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Dependent samples of unequal width, float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    y = torch.cat([x[:, :1] ** 2, torch.randn(size, 1, generator=generator, dtype=torch.float64)], dim=1)
    return x, y


def naive_kernel(x: Tensor, sigma: float) -> Tensor:
    return torch.stack([torch.stack([torch.exp(-((a - b) ** 2).sum() / (2 * sigma**2)) for b in x]) for a in x])


def test_unbiased_is_the_formula_of_song_et_al() -> None:
    x, y = pair(9)
    n = len(x)
    k, l = naive_kernel(x, 0.7), naive_kernel(y, 2.0)  # noqa: E741
    k.fill_diagonal_(0)
    l.fill_diagonal_(0)
    kl = k @ l
    expected = kl.trace() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * kl.sum()
    assert unbiased_hsic(x, y, 0.7, 2.0).item() == pytest.approx((expected / (n * (n - 3))).item(), rel=1e-10)


def test_biased_is_the_formula_of_gretton_et_al() -> None:
    x, y = pair(9)
    n = len(x)
    centering = torch.eye(n, dtype=torch.float64) - 1 / n
    expected = (naive_kernel(x, 0.7) @ centering @ naive_kernel(y, 2.0) @ centering).trace() / (n - 1) ** 2
    assert biased_hsic(x, y, 0.7, 2.0).item() == pytest.approx(expected.item(), rel=1e-10)


def test_unbiased_is_zero_on_average_for_independent_samples_and_positive_for_dependent_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    independent = [
        unbiased_hsic(torch.randn(10, 2, generator=generator), torch.randn(10, 2, generator=generator), 1.0, 1.0).item()
        for _ in range(500)
    ]
    assert min(independent) < 0
    assert abs(numpy.mean(independent)) < 3 * numpy.std(independent) / numpy.sqrt(500)
    dependent = [unbiased_hsic(*pair(40, seed), 1.0, 1.0).item() for seed in range(100)]
    assert numpy.mean(dependent) > 5 * numpy.std(dependent) / numpy.sqrt(100)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_small_batches_are_defined(name: str, size: int) -> None:
    x, y = (values.float() for values in pair(size))
    x.requires_grad_()
    value = ESTIMATORS[name](x, y, 1.0, 1.0)
    (value + x.sum()).backward()  # type: ignore[no-untyped-call]
    assert value.shape == ()
    assert value.isfinite()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    if size < {"unbiased": 4, "biased": 2}[name]:
        assert value == 0
        assert x.grad.equal(torch.ones_like(x))
    else:
        assert value != 0


@pytest.mark.parametrize("name", ESTIMATORS)
def test_constant_features_are_independent_of_everything(name: str) -> None:
    x = torch.ones(8, 3, requires_grad=True)
    value = ESTIMATORS[name](x, torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), 1.0, 1.0)
    value.backward()  # type: ignore[no-untyped-call]
    assert abs(value.item()) < 1e-7
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_single_precision_keeps_small_values() -> None:
    """The sums of the textbook formula are much larger than their difference."""
    x, y = pair(256)
    exact = unbiased_hsic(x, y, 5.0, 5.0).item()
    assert unbiased_hsic(x.float(), y.float(), 5.0, 5.0).item() == pytest.approx(exact, rel=1e-4)


def test_median_of_the_distances_of_pairs() -> None:
    x, _ = pair(7)
    distances = sorted(float(((x[i] - x[j]) ** 2).sum()) for i in range(7) for j in range(i))
    assert median_squared_distance(x).item() == pytest.approx(distances[10])  # of 21
    assert median_squared_distance(x[:1]).item() == 0
    assert rbf_kernel(x, torch.tensor(0.5, dtype=torch.float64)).equal(rbf_kernel(x, 0.5))
