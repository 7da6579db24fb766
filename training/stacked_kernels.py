"""Operations of stacked networks in about as few kernels as those of a single one.

`torch.vmap` makes four kernels of each linear layer, as many for its gradient, and some twenty of a cross-entropy.
Where launches are what a step costs, that is more than stacking saves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn.functional import cross_entropy, linear
from torch.overrides import TorchFunctionMode


class FewKernels(TorchFunctionMode):
    """Within the block, what `torch.vmap` maps takes few kernels. The numbers are the same but for rounding.

    It is for what methods compute: weights of linear layers are mapped, targets of cross-entropies are classes, each of
    which counts, and there is no autocast around it. Each replaced call costs the host some 0.2 ms, unless it is
    recorded (`training/graphs.py`).
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        settings = kwargs or {}
        if function is linear and not settings and len(args) == 3:
            return _Linear.apply(*args)  # type: ignore[no-untyped-call]
        if function is cross_entropy and len(args) == 2 and args[1].ndim == 1 and _is_usual(settings):
            losses = _CrossEntropy.apply(*args)  # type: ignore[no-untyped-call]
            return losses if settings["reduction"] == "none" else losses.mean()
        return function(*args, **settings)


def _is_usual(settings: Mapping[str, Any]) -> bool:
    """Whether these settings of `cross_entropy`, of which there are all, are what methods need."""
    others = {name: value for name, value in settings.items() if name != "reduction" and value is not None}
    return settings["reduction"] in ("mean", "none") and others == {"ignore_index": -100, "label_smoothing": 0.0}


class _Linear(Function):
    """`linear(values, weight, bias)`, mapped over R networks: one batched product with the bias added."""

    @staticmethod
    def forward(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return linear(values, weight, bias)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None: ...

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], values: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        if in_dims == (0, 0, 0) and values.ndim == 3:
            return _StackedLinear.apply(values, weight, bias), 0  # type: ignore[no-untyped-call]
        return torch.vmap(linear, in_dims)(values, weight, bias), 0


class _StackedLinear(Function):
    """Values [R, B, in] by weights [R, out, in] and biases [R, out]: [R, B, out].

    Autograd's own gradient of such a product is transposed in memory, and copied for that.
    """

    @staticmethod
    def forward(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.baddbmm(bias[:, None], values, weight.mT)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, weight = ctx.saved_tensors
        return (
            torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None,
            torch.bmm(gradient.mT, values) if ctx.needs_input_grad[1] else None,
            gradient.sum(dim=1) if ctx.needs_input_grad[2] else None,
        )


class _CrossEntropy(Function):
    """Cross-entropy per sample, mapped over R networks: that of all R * B samples at once."""

    @staticmethod
    def forward(logits: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(logits, target, reduction="none")

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None: ...

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], logits: Tensor, target: Tensor) -> tuple[Tensor, int]:
        mapped = [
            values.expand(info.batch_size, *values.shape) if dim is None else values.movedim(dim, 0)
            for values, dim in zip((logits, target), in_dims, strict=True)
        ]
        losses = cross_entropy(mapped[0].flatten(0, 1), mapped[1].flatten(), reduction="none")
        return losses.view(mapped[1].shape), 0
