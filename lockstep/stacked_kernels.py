"""Operations of stacked networks in about as few kernels as those of a single one.

`torch.vmap` makes four kernels of each linear layer, as many for its gradient, and some twenty of a cross-entropy.
Where launches are what a step costs, that is more than stacking saves.
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
    """Within the block, what `torch.vmap` maps takes few kernels. The numbers are the same but for rounding.

    It is for what methods compute: the targets of cross-entropies are classes, each of which counts.
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
    """Whether these settings of `cross_entropy`, of which there are all, are what methods need."""
    others = {name: value for name, value in settings.items() if name != "reduction" and value is not None}
    return settings["reduction"] in ("mean", "none") and others == {"ignore_index": -100, "label_smoothing": 0.0}


def _are_mapped(values: Sequence[Any], dimensions: tuple[int, ...]) -> bool:
    """Whether they are tensors of so many dimensions each, all mapped over the first of those below."""
    return len(values) == len(dimensions) and all(
        isinstance(value, Tensor) and value.ndim == number and is_batchedtensor(value) and maybe_get_bdim(value) == 0
        for value, number in zip(values, dimensions, strict=True)
    )


def _below_the_map(function: Callable[..., Tensor], mapped: Sequence[Tensor]) -> Tensor:
    """`function` of the stacked tensors [R, ...] that `mapped` are, mapped as they are.

    A `torch.autograd.Function` with a rule for `vmap` would do the same, and take 0.2 ms of the host for each call.
    """
    interpreter = retrieve_current_functorch_interpreter()
    stacked = [get_unwrapped(tensor) for tensor in mapped]
    with interpreter.lower():
        result = function(*stacked)
    return _add_batch_dim(result, 0, interpreter.level())


class _StackedLinear(Function):
    """Values [R, B, in] by weights [R, out, in] and biases [R, out]: [R, B, out].

    Autograd's own gradient of such a product is transposed in memory, and copied for that.
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
    """Cross-entropy of each sample, [R, B], as that of R * B samples. Logits [R, B, C], targets int64 [R, B]."""
    return cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
