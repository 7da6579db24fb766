"""CUDA graphs: capture a training step once, then replay it without the overhead of kernel launches."""

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

WARM_UP = 3  # steps before the capture, which create optimiser states, library handles and the like

Scalars = dict[str, Tensor]


class Descending(Protocol):
    """A `Descent` of one run or of several stacked runs, which updates everything in place."""

    @property
    def optimizers(self) -> Sequence[Optimizer]: ...

    def __call__(self, batch: Batch) -> Scalars: ...


@dataclass(frozen=True)
class CapturedStep:
    """A captured step: `replay` runs it on the current values of `batch`, and writes its results into `scalars`.

    It is valid for the `constants` of its kernels: the learning rates and the addresses of the parameters, which are
    always moved together.
    """

    batch: Batch
    constants: tuple[float, ...]
    scalars: Scalars
    replay: Callable[[], None]


class Capturer(Protocol):
    """Captures steps for `ReplayedDescent`."""

    def run(self, step: Callable[[], Scalars]) -> Scalars:
        """Run a step that will be captured later."""
        ...

    def capture(self, step: Callable[[], Scalars]) -> tuple[Scalars, Callable[[], None]]:
        """Capture the step without running it; returns where its results will be, and the function that replays it."""
        ...


class CudaCapturer:
    """Captures with `torch.cuda.CUDAGraph`.

    Steps before the capture run on the capturing stream, so that autograd and the libraries have set up their state for
    that stream, and no part of a captured step belongs to another one.
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
        # thread_local: threads that prefetch images may allocate pinned memory meanwhile
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            scalars = step()
        return scalars, graph.replay


class ReplayedDescent:
    """A `Descent` whose steps are replayed from a captured one: the same kernels with the same arguments.

    The first `WARM_UP` steps, and those on smaller batches, such as the last one of an epoch, are not replayed. The
    step is captured again when a learning rate has changed or the parameters have moved in memory. The states of the
    optimisers must not be replaced once they exist.

    A captured step keeps its memory until it is released.
    """

    def __init__(self, descent: Descending, new_capturer: Callable[[torch.device], Capturer]) -> None:
        self.descent, self.new_capturer = descent, new_capturer
        self.capturer: Capturer | None = None  # created at the first step, on the device of its batch
        self.captured: CapturedStep | None = None
        self.batch_size, self.warm_up = 0, WARM_UP  # largest batch so far; remaining steps before the capture

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
        """Free the memory of the captured step; a later step is captured again."""
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
    """Set `capturable` on Adam's parameter groups within the block: fused Adam needs it to be captured.

    Adam warns if it is set in a step that is not captured.
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
    """The phase's update if it is a `Descent`, replayed or not; otherwise None."""
    update = phase.update.descent if isinstance(phase.update, ReplayedDescent) else phase.update
    return update if isinstance(update, Descent) else None


def capturable_descent(phase: Phase) -> Descent | None:
    """The phase's update if it can be captured: a `Descent` with fused optimisers, which do not synchronise."""
    update = phase.update
    if not isinstance(update, Descent):
        return None
    fused = [group.get("fused") for optimizer in update.optimizers for group in optimizer.param_groups]
    return update if all(fused) else None


def require_capturable(method: Method, name: str) -> None:
    """Raise `UserError` if no step of `method`, called `name`, can be captured."""
    if not method.can_be_captured or not any(map(capturable_descent, method.phases())):
        raise UserError(
            f"cuda_graphs=True: the steps of {name}, with these optimisers, cannot be captured; set it to False"
        )


def replay_phases(
    phases: Sequence[Phase], new_capturer: Callable[[torch.device], Capturer] = CudaCapturer
) -> list[Phase]:
    """Copies of `phases` whose steps are replayed where they can be captured; a phase frees its graph at its end."""
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
    """Make `trainer` use CUDA graphs within the block where it can; their memory is freed at the end."""
    phases = trainer.phases
    trainer.phases = replay_phases(phases, new_capturer)
    try:
        yield
    finally:
        for phase in trainer.phases:
            if isinstance(phase.update, ReplayedDescent):
                phase.update.release()
        trainer.phases = phases
