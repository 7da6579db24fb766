"""CUDA graphs: a training step is recorded on the GPU once and then replayed, without the cost of its launches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from debiaslab.core.errors import UserError
from debiaslab.methods import Batch, Phase
from debiaslab.methods.base import Descent

WARM_UP = 3  # steps before the recording, which make all that is made once: optimiser states, handles of libraries

Scalars = dict[str, Tensor]


class Descending(Protocol):
    """A `Descent`, of one run or of several as one: all that its calls change is changed in place."""

    @property
    def optimizers(self) -> Sequence[Optimizer]: ...

    def __call__(self, batch: Batch) -> Scalars: ...


@dataclass(frozen=True)
class Recording:
    """A recorded step: `replay` does it again, on what `batch` holds then, and leaves its results in `scalars`.

    It holds for the `constants` of its kernels: the learning rates, and where the parameters are in memory, all of
    which move together.
    """

    batch: Batch
    constants: tuple[float, ...]
    scalars: Scalars
    replay: Callable[[], None]


class Recorder(Protocol):
    """What the device does for `ReplayedDescent`."""

    def run(self, step: Callable[[], Scalars]) -> Scalars:
        """Do the step, as one that is to be recorded later has to be done."""
        ...

    def record(self, step: Callable[[], Scalars]) -> tuple[Scalars, Callable[[], None]]:
        """Record the step without doing it: where its results will be, and what does it."""
        ...


class CudaRecorder:
    """Records by `torch.cuda.CUDAGraph`.

    Steps that are done before are done on the stream that is recorded: what autograd and the libraries keep for a
    stream is then there, and no part of a recorded step belongs to another.
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

    def record(self, step: Callable[[], Scalars]) -> tuple[Scalars, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: threads that read images ahead may allocate pinned memory meanwhile
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            scalars = step()
        return scalars, graph.replay


class ReplayedDescent:
    """A `Descent` whose steps are replayed from a recording: the same kernels with the same arguments.

    The first `WARM_UP` steps, and those on smaller batches, such as the last one of an epoch, are done as they are. The
    step is recorded anew when a learning rate has changed, or the parameters have been moved to other memory. The
    optimisers' states must not be replaced by then.

    A recording keeps the memory of a step until it is forgotten.
    """

    def __init__(self, descent: Descending, recorder: Callable[[torch.device], Recorder]) -> None:
        self.descent, self.new_recorder = descent, recorder
        self.recorder: Recorder | None = None  # made with the first step, for the device of its batch
        self.recording: Recording | None = None
        self.batch_size, self.warm_up = 0, WARM_UP  # the largest batch so far, steps on such to be done before

    def __call__(self, batch: Batch) -> Scalars:
        size = batch.target.numel()
        if self.recorder is None:
            self.recorder = self.new_recorder(batch.target.device)
        if size > self.batch_size:
            self.batch_size, self.warm_up, self.recording = size, WARM_UP, None
        if size < self.batch_size or self.warm_up > 0:
            self.warm_up -= size == self.batch_size
            return self.recorder.run(partial(self.descent, batch))
        if self.recording is None or self.recording.constants != self._constants():
            self.recording = None  # frees its memory
            self.recording = self._recorded(self.recorder, batch)
        kept = self.recording.batch.tensors()
        for name, values in batch.tensors().items():
            kept[name].copy_(values)
        self.recording.replay()
        return {name: value.clone() for name, value in self.recording.scalars.items()}

    def forget(self) -> None:
        """Free the memory of the recording; a later step is recorded anew."""
        self.recording = None

    def _constants(self) -> tuple[float, ...]:
        groups = [group for optimizer in self.descent.optimizers for group in optimizer.param_groups]
        return tuple(constant for group in groups for constant in (group["lr"], group["params"][0].data_ptr()))

    def _recorded(self, recorder: Recorder, batch: Batch) -> Recording:
        own = replace(batch, **{name: values.clone() for name, values in batch.tensors().items()})
        with capturable(self.descent.optimizers):
            scalars, replay = recorder.record(partial(self.descent, own))
        return Recording(own, self._constants(), scalars, replay)


@contextmanager
def capturable(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Within the block, Adam lets itself be recorded: fused, it can be, but wants to be told.

    Told so in a step that is not recorded, it warns.
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


def recordable(phase: Phase) -> Descent | None:
    """What can be recorded of `phase`: a `Descent` with fused optimisers, which do not wait for the device."""
    update = phase.update
    if not isinstance(update, Descent):
        return None
    fused = [group.get("fused") for optimizer in update.optimizers for group in optimizer.param_groups]
    return update if all(fused) else None


def require_recordable(phases: Sequence[Phase], method: str) -> None:
    """Raise `UserError` if nothing can be recorded of any of the phases of `method`."""
    if not any(map(recordable, phases)):
        raise UserError(
            f"cuda_graphs=True: the steps of {method}, with these optimisers, cannot be recorded; set it to False"
        )


def replayed(phases: Sequence[Phase], recorder: Callable[[torch.device], Recorder] = CudaRecorder) -> list[Phase]:
    """The same phases; the steps of those that can be recorded are replayed."""
    descents = [recordable(phase) for phase in phases]
    return [
        phase if descent is None else replace(phase, update=ReplayedDescent(descent, recorder))
        for phase, descent in zip(phases, descents, strict=True)
    ]
