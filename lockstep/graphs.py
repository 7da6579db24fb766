"""CUDA graphs: a training step is captured on the GPU once and then replayed, without the cost of its launches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from debiaslab.core.errors import UserError
from debiaslab.methods import Batch, Method, Phase
from debiaslab.methods.phase import Descent
from debiaslab.training.loop import Trainer

WARM_UP = 3  # steps before the capture, which make all that is made once: optimiser states, handles of libraries

Scalars = dict[str, Tensor]


class Descending(Protocol):
    """A `Descent`, of one run or of several as one: all that its calls change is changed in place."""

    @property
    def optimizers(self) -> Sequence[Optimizer]: ...

    def __call__(self, batch: Batch) -> Scalars: ...


@dataclass(frozen=True)
class CapturedStep:
    """A step that `replay` repeats, on the current values of `batch`; its results are in `scalars` then.

    It holds for the `constants` of its kernels: the learning rates, and where the parameters are in memory, all of
    which move together.
    """

    batch: Batch
    constants: tuple[float, ...]
    scalars: Scalars
    replay: Callable[[], None]


class Capturer(Protocol):
    """What the device does for `ReplayedDescent`."""

    def run(self, step: Callable[[], Scalars]) -> Scalars:
        """Run the step as required of one that will be captured later."""
        ...

    def capture(self, step: Callable[[], Scalars]) -> tuple[Scalars, Callable[[], None]]:
        """Capture the step without running it; returns where its results will be, and the function that replays it."""
        ...


class CudaCapturer:
    """Captures by `torch.cuda.CUDAGraph`.

    Steps before the capture run on the stream that is captured: what autograd and the libraries keep for a stream is
    then there, and no part of a captured step belongs to another.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, step: Callable[[], Scalars]) -> Scalars:
        caller = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(caller)
        with torch.cuda.stream(self.stream):
            scalars = step()
        caller.wait_stream(self.stream)
        return scalars

    def capture(self, step: Callable[[], Scalars]) -> tuple[Scalars, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: threads that read images ahead may allocate pinned memory meanwhile
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            scalars = step()
        return scalars, graph.replay


class ReplayedDescent:
    """A `Descent` whose steps are replayed from a captured one: the same kernels with the same arguments.

    The first `WARM_UP` steps, and those on smaller batches, such as the last one of an epoch, are not captured. The
    step is captured anew when a learning rate has changed, or the parameters have moved to other memory. The
    optimisers' states must not be replaced once they exist.

    A captured step keeps its memory until it is released.
    """

    def __init__(self, descent: Descending, new_capturer: Callable[[torch.device], Capturer]) -> None:
        self.descent, self.new_capturer = descent, new_capturer
        self.capturer: Capturer | None = None  # made at the first step, for the device of its batch
        self.captured: CapturedStep | None = None
        self.batch_size, self.warm_up = 0, WARM_UP  # the largest batch so far, and steps on such before the capture

    def __call__(self, batch: Batch) -> Scalars:
        size = batch.target.numel()
        if self.capturer is None:
            self.capturer = self.new_capturer(batch.target.device)
        if size > self.batch_size:
            self.batch_size, self.warm_up, self.captured = size, WARM_UP, None
        if size < self.batch_size or self.warm_up > 0:
            self.warm_up -= size == self.batch_size
            return self.capturer.run(partial(self.descent, batch))
        if self.captured is None or self.captured.constants != self._constants():
            self.captured = None  # frees its memory
            self.captured = self._capture(self.capturer, batch)
        own = self.captured.batch.tensors()
        for name, values in batch.tensors().items():
            own[name].copy_(values)
        self.captured.replay()
        return {name: value.clone() for name, value in self.captured.scalars.items()}

    def release(self) -> None:
        """Free the memory of the captured step; a later step is captured anew."""
        self.captured = None

    def _constants(self) -> tuple[float, ...]:
        groups = [group for optimizer in self.descent.optimizers for group in optimizer.param_groups]
        return tuple(constant for group in groups for constant in (group["lr"], group["params"][0].data_ptr()))

    def _capture(self, capturer: Capturer, batch: Batch) -> CapturedStep:
        own = replace(batch, **{name: values.clone() for name, values in batch.tensors().items()})
        with capturable(self.descent.optimizers):
            scalars, replay = capturer.capture(partial(self.descent, own))
        return CapturedStep(own, self._constants(), scalars, replay)


@contextmanager
def capturable(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Within the block, Adam lets itself be captured: fused, it can be, but has to be told.

    Told so in a step that is not captured, it warns.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


def descent_of(phase: Phase) -> Descent | None:
    """The `Descent` of one run that is the phase's update, replayed or not; None if it is of another kind."""
    update = phase.update.descent if isinstance(phase.update, ReplayedDescent) else phase.update
    return update if isinstance(update, Descent) else None


def capturable_descent(phase: Phase) -> Descent | None:
    """What can be captured of `phase`: a `Descent` with fused optimisers, which do not wait for the device."""
    update = phase.update
    if not isinstance(update, Descent):
        return None
    fused = [group.get("fused") for optimizer in update.optimizers for group in optimizer.param_groups]
    return update if all(fused) else None


def require_capturable(method: Method, name: str) -> None:
    """Raise `UserError` if no step of `method`, which is called `name`, can be captured."""
    if not method.can_be_captured or not any(map(capturable_descent, method.phases())):
        raise UserError(
            f"cuda_graphs=True: the steps of {name}, with these optimisers, cannot be captured; set it to False"
        )


def replay_phases(
    phases: Sequence[Phase], new_capturer: Callable[[torch.device], Capturer] = CudaCapturer
) -> list[Phase]:
    """The same phases, with the steps of those that can be captured replayed. A phase's end frees what it captured."""
    return [
        phase if descent is None else _replay_phase(phase, ReplayedDescent(descent, new_capturer))
        for phase in phases
        for descent in [capturable_descent(phase)]
    ]


def _replay_phase(phase: Phase, update: ReplayedDescent) -> Phase:
    def finish(training_images: Iterable[Batch]) -> None:
        update.release()
        phase.finish(training_images)

    return replace(phase, update=update, finish=finish)


@contextmanager
def replay_steps(trainer: Trainer, new_capturer: Callable[[torch.device], Capturer] = CudaCapturer) -> Iterator[None]:
    """Within the block, `trainer` takes its steps by CUDA graphs where it can; their memory is freed at its end."""
    phases = trainer.phases
    trainer.phases = replay_phases(phases, new_capturer)
    try:
        yield
    finally:
        for phase in trainer.phases:
            if isinstance(phase.update, ReplayedDescent):
                phase.update.release()
        trainer.phases = phases
