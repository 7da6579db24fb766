"""Processes ("ranks") that train one run together, by torch.distributed: each computes a part of every batch.

Encoders are distributed: each process computes the features of its part of the images, and gets those of the whole
batch. Everything after that (heads, losses, state of each sample) is computed on the whole batch by every process, and
needs no communication. So the gradient with respect to the features is complete in each process, and the encoders'
gradients, which are those of its part of the images, are summed.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.utils._pytree import tree_map_only

from debiaslab.core.errors import RankLost

T = TypeVar("T")


class Ranks:
    """The processes that train together: this one is number `rank` of `size`.

    All of them must call the same methods in the same order. Raises `RankLost` where another process has ended.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.of_encoders: Collection[Tensor] = ()  # parameters whose gradients are those of a part of the batch

    def part(self, count: int, rank: int | None = None) -> slice:
        """The part of `count` images that the process number `rank` (None: this one) computes; it may be empty."""
        rank = self.rank if rank is None else rank
        return slice(count * rank // self.size, count * (rank + 1) // self.size)

    def is_own(self, number: int) -> bool:
        """Whether piece `number` of work that can be cut into any pieces, such as an evaluation, is this process's."""
        return number % self.size == self.rank

    def of_whole_batch(self, compute: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        """`compute(image)` [B, ...] for image [B, ...], of which this process computes its part alone."""
        own = image.own if isinstance(image, OwnImages) else image[self.part(len(image))]
        with alone():
            outputs = compute(own)
        gathered: Tensor = _Gather.apply(outputs, len(image), self)  # type: ignore[no-untyped-call]
        return gathered

    def gather(self, own: Tensor, count: int) -> Tensor:
        """The values [count, ...] of all processes, from the part of each; without gradient."""
        most = -(-count // self.size)
        padded = own.contiguous()
        if len(own) < most:
            padded = torch.cat([padded, padded.new_zeros(most - len(own), *own.shape[1:])])
        gathered = padded.new_empty(self.size * most, *own.shape[1:])
        pieces = list(torch.split(gathered, most))
        _communicate(distributed.all_gather, pieces, padded)
        if count == len(gathered):
            return gathered
        parts = [self.part(count, rank) for rank in range(self.size)]
        return torch.cat([piece[: part.stop - part.start] for piece, part in zip(pieces, parts, strict=True)])

    def sum(self, values: Tensor) -> Tensor:
        """The sum of the `values`, of the same shape in all processes; the gradient of each is the summed gradient."""
        summed: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return summed

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Complete the gradients of those `parameters` that are of encoders, in place."""
        gradients = [
            parameter.grad for parameter in parameters if parameter in self.of_encoders and parameter.grad is not None
        ]
        if not gradients:
            return
        everything = torch.cat([gradient.flatten() for gradient in gradients])
        _communicate(distributed.all_reduce, everything)
        parts = torch.split(everything, [gradient.numel() for gradient in gradients])
        for gradient, summed in zip(gradients, parts, strict=True):
            gradient.copy_(summed.view(gradient.shape))

    def from_first(self, value: T) -> T:
        """The `value` of the process number 0, which must be picklable, in every process."""
        values: list[Any] = [value]
        _communicate(distributed.broadcast_object_list, values)
        found: T = values[0]
        return found

    def wait(self) -> None:
        """Wait until all processes are here."""
        _communicate(distributed.barrier)


class _Gather(torch.autograd.Function):
    """`Ranks.gather`; backward takes the gradient of this process's part. It is complete, as every process computes the
    whole loss."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, count: int, ranks: Ranks) -> Tensor:
        ctx.part = ranks.part(count)
        return ranks.gather(own, count)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.part], None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        _communicate(distributed.all_reduce, summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        _communicate(distributed.all_reduce, summed)
        return summed


class OwnImages(Tensor):
    """The images [B, ...] of a batch, of which this process has only `own`, its part.

    Encoders take that. Any other operation, such as mixing images, is on the whole batch, which is gathered from all
    processes at the first one.
    """

    own: Tensor
    ranks: Ranks
    gathered: Tensor | None

    @staticmethod
    def of(own: Tensor, count: int, ranks: Ranks) -> "OwnImages":
        """`own` is the part of this process of `count` images."""
        images = own.new_zeros(()).expand(count, *own.shape[1:]).as_subclass(OwnImages)  # the shape, without memory
        images.own, images.ranks, images.gathered = own, ranks, None
        return images

    def whole(self) -> Tensor:
        """All images of the batch, in every process."""
        if self.gathered is None:
            self.gathered = self.ranks.gather(self.own, len(self))
        return self.gathered

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given: tuple[Sequence[Any], Mapping[str, Any]] = (args, kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            if func not in KNOWN_WITHOUT_VALUES:
                given = tree_map_only(OwnImages, OwnImages.whole, given)
            return func(*given[0], **given[1])


KNOWN_WITHOUT_VALUES = {
    Tensor.dim,
    Tensor.size,
    Tensor.__len__,
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "requires_grad")),
}


def _communicate(collective: Callable[..., object], *values: Tensor | list[Any]) -> None:
    try:
        collective(*values)
    except RuntimeError as error:
        raise RankLost(str(error)) from error


# ---- which processes the computations of this one are part of

_active: Ranks | None = None


def active() -> Ranks | None:
    """The processes that share the current computation; None: this one is alone."""
    return _active


@contextmanager
def shared_by(ranks: Ranks | None) -> Iterator[None]:
    """Share the computations of the block with `ranks` (None: with none)."""
    global _active
    before, _active = _active, ranks
    try:
        yield
    finally:
        _active = before


def alone() -> Any:
    """Within the block, networks compute what they are given: an own part of a batch, or of an evaluation."""
    return shared_by(None)


def of_whole_batch(compute: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """`compute(image)`; the processes that are active compute a part each."""
    return compute(image) if _active is None else _active.of_whole_batch(compute, image)


def of_this_process() -> Ranks | None:
    """The processes of the run that this one has joined (`commands.ranks`), if any."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    return Ranks(distributed.get_rank(), distributed.get_world_size())
