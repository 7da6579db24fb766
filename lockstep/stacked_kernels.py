"""Operations of stacked networks with about as few kernels as for a single network.

`torch.vmap` launches four kernels for a linear layer, as many for its gradient, and about twenty for a cross-entropy.
If a step is bound by launches, that costs more than stacking saves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import _add_batch_dim, get_unwrapped, is_batchedtensor, maybe_get_bdim
from torch._functorch.pyfunctorch import retrieve_current_functorch_interpreter
from torch.autograd import Function
from torch.nn.functional import cross_entropy, linear
from torch.overrides import TorchFunctionMode


class FewKernels(TorchFunctionMode):
    """Make operations under `torch.vmap` use few kernels within the block; results are the same up to rounding.

    Covers what methods compute: linear layers, and cross-entropies with class indices as targets.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        settings = kwargs or {}
        if function is linear and not settings and len(args) == 3 and _are_mapped(args, dimensions=(2, 2, 1)):
            return _below_the_map(_StackedLinear.apply, args)
        if function is cross_entropy and _is_usual(settings) and _are_mapped(args, dimensions=(2, 1)):
            losses: Tensor = _below_the_map(_stacked_cross_entropy, args)
            return losses if settings["reduction"] == "none" else losses.mean()
        return function(*args, **settings)


def _is_usual(settings: Mapping[str, Any]) -> bool:
    """Whether these arguments of `cross_entropy` (all of them) are supported."""
    others = {name: value for name, value in settings.items() if name != "reduction" and value is not None}
    return settings["reduction"] in ("mean", "none") and others == {"ignore_index": -100, "label_smoothing": 0.0}


def _are_mapped(values: Sequence[Any], dimensions: tuple[int, ...]) -> bool:
    """Whether `values` are tensors with these numbers of dimensions, all mapped over the first stacked dimension."""
    return len(values) == len(dimensions) and all(
        isinstance(value, Tensor) and value.ndim == number and is_batchedtensor(value) and maybe_get_bdim(value) == 0
        for value, number in zip(values, dimensions, strict=True)
    )


def _below_the_map(function: Callable[..., Tensor], mapped: Sequence[Tensor]) -> Tensor:
    """Apply `function` to the stacked tensors [R, ...] below `mapped`, and map the result like them.

    A `torch.autograd.Function` with a vmap rule would do the same, with 0.2 ms of host time per call.
    """
    interpreter = retrieve_current_functorch_interpreter()
    stacked = [get_unwrapped(tensor) for tensor in mapped]
    with interpreter.lower():
        result = function(*stacked)
    return _add_batch_dim(result, 0, interpreter.level())


class _StackedLinear(Function):
    """Linear layers: values [R, B, in], weights [R, out, in] and biases [R, out] to [R, B, out].

    Autograd's own gradient of the product is transposed in memory, which needs a copy.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(values, weight)
        return torch.baddbmm(bias[:, None], values, weight.mT)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, weight = ctx.saved_tensors
        return (
            torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None,
            torch.bmm(gradient.mT, values) if ctx.needs_input_grad[1] else None,
            gradient.sum(dim=1) if ctx.needs_input_grad[2] else None,
        )


def _stacked_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy per sample, [R, B], computed as for R * B samples. Logits [R, B, C], targets int64 [R, B]."""
    return cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
