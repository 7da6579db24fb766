"""Stack the networks and optimisers of several runs, so that one step on stacked tensors is a step of each run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import Optimizer

from debiaslab.lockstep.batches import Step, make_stacked
from debiaslab.lockstep.graphs import ReplayedDescent, Scalars, descent_of
from debiaslab.lockstep.stacked_kernels import FewKernels
from debiaslab.methods import Batch, Method
from debiaslab.methods.phase import Descent

COUNT = "step"  # the step count in an optimiser's state; other entries have the shape of their parameter


class Stack:
    """Runs of one method in the same phase, whose steps are taken as one; replayed if their own steps are."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """`steps` are the next steps of the runs; the updates of their phases are `Descent`s."""
        self.stacked = StackedDescent(steps)
        self.descend: Callable[[Batch], Scalars] = self.stacked
        alone = steps[0].phase.update
        if isinstance(alone, ReplayedDescent):
            self.descend = ReplayedDescent(self.stacked, alone.new_capturer)

    def update(self, steps: Sequence[Step]) -> list[Scalars]:
        """Equivalent to `phase.update(batch.make())` for each of `steps`; returns the scalars of each."""
        rows = self.descend(make_stacked([step.batch for step in steps]))
        return [{name: row[place] for name, row in rows.items()} for place in range(len(steps))]

    def part(self) -> None:
        """Separate the runs, so that each can continue alone."""
        for optimizer in self.stacked.joined:
            optimizer.part()


class StackedDescent:
    """The `Descent`s of R runs of one method in the same phase, as one.

    The tensors of their networks are stacked, [R, ...], and so are the states of their optimisers. The methods' own
    tensors become views into the stack, so that reading, loading or optimising them accesses the stacked ones.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        """`steps` as in `Stack`."""
        descents = [_descent(step) for step in steps]
        self.optimizers = [optimizer for descent in descents for optimizer in descent.optimizers]
        self.losses = _Losses(steps[0].method, descents[0])
        members = [_tensors(step.method) for step in steps]
        self.stacked: dict[str, Tensor] = {}
        self.trained: dict[Tensor, Tensor] = {}  # parameter of the first method -> stacked parameter
        with torch.no_grad():
            for name, first in members[0].items():
                own = [member[name] for member in members]
                self.stacked[name] = stacked = _stack(own)
                for place, tensor in zip(stacked, own, strict=True):
                    tensor.data = place
                if first.requires_grad:
                    self.trained[first] = stacked.requires_grad_()
        self.joined = [
            JoinedOptimizer(of_each, self.trained)
            for of_each in zip(*(descent.optimizers for descent in descents), strict=True)
        ]

    def __call__(self, batch: Batch) -> Scalars:
        """Take one step of each run on a stacked batch of tensors [R, B, ...]; returns scalars [R]."""

        def losses_of(tensors: Mapping[str, Tensor], own: Mapping[str, Any]) -> Scalars:
            scalars: Scalars = functional_call(self.losses, dict(tensors), (replace(batch, **own),))
            return scalars

        with FewKernels():
            losses = vmap(losses_of)(self.stacked, batch.tensors())
        for stacked in self.trained.values():
            stacked.grad = None
        losses["loss"].sum().backward()  # type: ignore[no-untyped-call]
        for optimizer in self.joined:
            optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}


class JoinedOptimizer:
    """The optimisers of several runs, with equal settings and step counts, as one optimiser of stacked parameters.

    The state of each run's optimiser consists of views into the stacked state, so that it can be saved or continue
    alone. This works for fused optimisers, which are elementwise; others, or with different settings, step in turn.
    """

    def __init__(self, own: Sequence[Optimizer], stacked_of: Mapping[Tensor, Tensor]) -> None:
        """`stacked_of` maps the trained parameters of the first optimiser to stacked parameters."""
        self.own = own
        self.parameters = [
            (stacked_of[parameters[0]], parameters)
            for parameters in zip(*map(_parameters, own), strict=True)
            if parameters[0] in stacked_of
        ]
        self.optimizer: Optimizer | None = None
        settings, *others = map(_settings, own)
        if not all(group.get("fused") for group in settings) or any(other != settings for other in others):
            return
        kind: Callable[..., Optimizer] = type(own[0])
        members = [
            [stacked_of[parameter] for parameter in group["params"] if parameter in stacked_of]
            for group in own[0].param_groups
        ]
        self.optimizer = kind([{**group, "params": stacked} for group, stacked in zip(settings, members, strict=True)])
        for stacked, parameters in self.parameters:
            states = [optimizer.state.get(parameter, {}) for optimizer, parameter in zip(own, parameters, strict=True)]
            for name, value in states[0].items():
                joined = value.clone() if name == COUNT else _stack([state[name] for state in states])
                self.optimizer.state[stacked][name] = joined
        self.unshared = list(self.parameters)  # parameters whose states are not shared with the runs yet
        self._share(self.optimizer)

    def step(self) -> None:
        """Take one step of each optimiser, on the gradients of the stacked parameters."""
        if self.optimizer is None:
            for stacked, parameters in self.parameters:
                for place, parameter in enumerate(parameters):
                    parameter.grad = None if stacked.grad is None else stacked.grad[place]
            for optimizer in self.own:
                optimizer.step()
            return
        for group, settings in zip(self.optimizer.param_groups, _settings(self.own[0]), strict=True):
            group.update(settings)
        self.optimizer.step()
        self._share(self.optimizer)

    def _share(self, optimizer: Optimizer) -> None:
        """Turn the states of the runs' optimisers into views into the stacked states; the step count is shared."""
        there, self.unshared = self.unshared, [entry for entry in self.unshared if not optimizer.state.get(entry[0])]
        for stacked, parameters in there:
            for place, (own, parameter) in enumerate(zip(self.own, parameters, strict=True)):
                for name, value in optimizer.state.get(stacked, {}).items():
                    own.state[parameter][name] = value if name == COUNT else value[place]

    def part(self) -> None:
        """Give each run's optimiser its own step count."""
        for optimizer in () if self.optimizer is None else self.own:
            for state in optimizer.state.values():
                if COUNT in state:
                    state[COUNT] = state[COUNT].clone()


class _Losses(nn.Module):
    """The losses of a phase, as a module that contains all tensors of the method."""

    def __init__(self, method: Method, descent: Descent) -> None:
        super().__init__()
        self.method, self.of_batch = method, descent.losses

    def forward(self, batch: Batch) -> Scalars:
        return self.of_batch(batch)


def _descent(step: Step) -> Descent:
    descent = descent_of(step.phase)
    assert descent is not None
    return descent


def _tensors(method: Method) -> dict[str, Tensor]:
    """All parameters and buffers, by their names in `_Losses`."""
    named = [*method.named_parameters(prefix="method"), *method.named_buffers(prefix="method")]
    return dict(named)


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The settings of each parameter group."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.detach() for tensor in tensors])
