"""Operations of stacked networks: what PyTorch's own mapping computes, in fewer kernels."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import cross_entropy, linear

from debiaslab.lockstep.stacked_kernels import FewKernels

RUNS, SAMPLES, WIDTH, CLASSES = 3, 5, 4, 6


def values(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def targets() -> Tensor:
    return torch.arange(RUNS * SAMPLES).view(RUNS, SAMPLES) % CLASSES


def outcome(function: Callable[..., Tensor], tensors: Sequence[Tensor], in_dims: Any, few: bool) -> list[Tensor | None]:
    """What the mapped function returns, and the gradients of a sum that weighs each value differently."""
    with FewKernels() if few else nullcontext():
        result = vmap(function, in_dims)(*tensors)
    weights = torch.arange(1.0, result.numel() + 1, dtype=result.dtype).view(result.shape)
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    return [result, *torch.autograd.grad((weights * result).sum(), trained)]


def assert_the_same(function: Callable[..., Tensor], tensors: Sequence[Tensor], in_dims: Any = 0) -> None:
    ours, theirs = (outcome(function, tensors, in_dims, few) for few in (True, False))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_linear_layer() -> None:
    assert_the_same(linear, [values(RUNS, SAMPLES, WIDTH), values(RUNS, CLASSES, WIDTH), values(RUNS, CLASSES)])


def test_a_linear_layer_of_fixed_inputs_or_weights() -> None:
    given = [values(RUNS, SAMPLES, WIDTH), values(RUNS, CLASSES, WIDTH), values(RUNS, CLASSES)]
    for fixed in range(3):
        tensors = [tensor.detach() if place == fixed else tensor for place, tensor in enumerate(given)]
        assert_the_same(linear, tensors)


@pytest.mark.parametrize(
    ("shapes", "in_dims"),
    [
        ([(RUNS, SAMPLES, WIDTH), (RUNS, CLASSES, WIDTH)], 0),  # no bias
        ([(SAMPLES, WIDTH), (RUNS, CLASSES, WIDTH), (RUNS, CLASSES)], (None, 0, 0)),
        ([(RUNS, SAMPLES, WIDTH), (CLASSES, WIDTH), (CLASSES,)], (0, None, None)),
        ([(SAMPLES, RUNS, WIDTH), (RUNS, CLASSES, WIDTH), (RUNS, CLASSES)], (1, 0, 0)),
        ([(RUNS, WIDTH), (RUNS, CLASSES, WIDTH), (RUNS, CLASSES)], 0),  # one sample, without a dimension for it
        ([(RUNS, 2, SAMPLES, WIDTH), (RUNS, CLASSES, WIDTH), (RUNS, CLASSES)], 0),
    ],
)
def test_other_linear_layers_are_left_to_pytorch(shapes: list[tuple[int, ...]], in_dims: Any) -> None:
    assert_the_same(linear, [values(*shape) for shape in shapes], in_dims)


@pytest.mark.parametrize("settings", [{}, {"reduction": "none"}, {"reduction": "sum"}, {"label_smoothing": 0.1}])
def test_cross_entropy(settings: dict[str, Any]) -> None:
    logits, target = values(RUNS, SAMPLES, CLASSES), targets()

    def losses(logits: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(logits, target, **settings)

    assert_the_same(losses, [logits, target])
    assert_the_same(losses, [logits, target[0]], (0, None))


def test_nothing_changes_outside_a_map_and_without_gradient() -> None:
    given = [values(SAMPLES, WIDTH), values(CLASSES, WIDTH), values(CLASSES)]
    with FewKernels():
        result = linear(*given)
        assert torch.equal(result, linear(*(tensor.detach() for tensor in given)))
        assert result.requires_grad
        with torch.no_grad():
            mapped = vmap(linear)(*(tensor.expand(RUNS, *tensor.shape) for tensor in given))
    assert not mapped.requires_grad
    torch.testing.assert_close(mapped, result.detach().expand(RUNS, *result.shape), rtol=1e-12, atol=1e-12)
