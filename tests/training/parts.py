"""One process whose encoders take every batch in parts: what several processes must be equal to, bit by bit."""

from collections.abc import Callable
from copy import deepcopy
from threading import Barrier, Thread, local
from typing import Any

import torch
from torch import Tensor, nn

from debiaslab.core import ranks
from debiaslab.core.ranks import Ranks
from debiaslab.models.batch_norm import SharedBatchNorm


class Parts(Ranks):
    """Takes the place of `size` processes.

    Each part has a copy of each encoder, on the same parameters, which are added up in `sum_gradients`. The parts are
    computed in threads, which wait for each other in batch norm.
    """

    def __init__(self, size: int) -> None:
        super().__init__(0, size)
        self.copies: dict[nn.Module, list[nn.Module]] = {}
        self.barrier, self.place, self.slots = Barrier(size), local(), [torch.zeros(0)] * size

    def part(self, count: int, rank: int | None = None) -> slice:
        return slice(0, count) if rank is None else super().part(count, rank)

    def is_own(self, number: int) -> bool:
        return True

    def of_whole_batch(self, compute: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        method: Any = compute
        name = "map" if method.__name__ == "map" else "__call__"
        outputs = [image] * self.size
        errors: list[BaseException] = []
        with_gradient = torch.is_grad_enabled()

        def run(place: int, own: nn.Module) -> None:
            self.place.number = place
            try:
                with torch.set_grad_enabled(with_gradient):
                    outputs[place] = getattr(own, name)(image[self.part(len(image), place)])
            except BaseException as error:
                errors.append(error)
                self.barrier.abort()
            finally:
                del self.place.number

        with ranks.alone():
            threads = [Thread(target=run, args=given) for given in enumerate(self.copies_of(method.__self__))]
            wait = any(isinstance(module, SharedBatchNorm) for module in method.__self__.modules())
            for thread in threads:
                thread.start() if wait else thread.run()
            for thread in threads if wait else ():
                thread.join()
        if errors:
            raise errors[0]
        return torch.cat(outputs)

    def copies_of(self, encoder: nn.Module) -> list[nn.Module]:
        """`encoder` itself for the first part, then the copies for the others, in the same modes."""
        if encoder not in self.copies:
            self.copies[encoder] = [encoder, *(self._copy(encoder) for _ in range(self.size - 1))]
        for own in self.copies[encoder]:
            for ours, theirs in zip(own.modules(), encoder.modules(), strict=True):
                ours.training = theirs.training
        return self.copies[encoder]

    def _copy(self, encoder: nn.Module) -> nn.Module:
        known: dict[int, Any] = {id(self): self} | {id(buffer): buffer for buffer in encoder.buffers()}
        for parameter in encoder.parameters():
            known[id(parameter)] = nn.Parameter(parameter.detach(), parameter.requires_grad)
        copy = deepcopy(encoder, known)
        for module in copy.modules():
            if isinstance(module, SharedBatchNorm):
                module._observe = lambda mean, variance: None  # type: ignore[method-assign]
        return copy

    def sum(self, values: Tensor) -> Tensor:
        if not hasattr(self.place, "number"):  # in an evaluation
            return values
        self.slots[self.place.number] = values
        self.barrier.wait()
        if self.place.number == 0:
            self.total = sum(self.slots[1:], start=self.slots[0])
        self.barrier.wait()
        return self.total

    @torch.no_grad()
    def sum_gradients(self, parameters: Any) -> None:
        wanted = set(parameters)
        for copies in self.copies.values():
            for parameter, *others in zip(*(copy.parameters() for copy in copies), strict=True):
                for other in others if parameter in wanted else ():
                    if other.grad is not None:
                        parameter.grad = other.grad if parameter.grad is None else parameter.grad.add_(other.grad)
                        other.grad = None
