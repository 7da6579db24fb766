"""LfF and DisEnt on Colored MNIST: milliseconds per step.

Steps are compared with the reference style twice, with its loader and with batches in memory, to separate the cost of
the loader from that of the step.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax
from torch.optim import Adam

from benchmarks.colored_mnist import published_data
from benchmarks.machine import Work, adam, linear
from benchmarks.reference import ClassLoopEMA, Items, endless, training_loader
from benchmarks.side_by_side import Row, SideBySide, compare
from debiaslab.core.randomness import torch_generator
from debiaslab.datasets.inputs import as_input
from debiaslab.methods import METHODS, Phase, Task
from debiaslab.models import Networks, architecture
from debiaslab.training.batches import Batches
from debiaslab.training.device import choose_device, threads_for

GOALS = {"lff": 4.0, "disent": 3.0}
WIDTHS = {"lff": (100, 100, 100), "disent": (100, 100, 16)}
RATES = {"lff": 1e-3, "disent": 1e-2}
BATCH_SIZE, PIXELS, CLASSES, DECAY, Q = 256, 3 * 28 * 28, 10, 0.7, 0.7
STEPS = 100  # of a repeat

Step = Callable[[Tensor, Tensor, Tensor], None]  # index, image, target of a batch


def run() -> list[Row]:
    steps = [
        SideBySide(
            name=f"{name}: step {feeding}",
            ours=partial(our_steps, name, loader),
            baseline=partial(reference_steps, name, loader),
            unit="ms per step",
            count=STEPS,
            goal=GOALS[name] if loader else None,
            work=step_work(name) * STEPS,
            memory=loader,
            clock=time.perf_counter if loader else time.process_time,  # a loader has processes of its own
        )
        for name in GOALS
        for feeding, loader in (("with its batch", True), ("on a batch in memory", False))
    ]
    return [compare(pair) for pair in steps]


def step_work(name: str) -> Work:
    """Work of a step: two networks; DisEnt's heads read the features of both, also with bias features swapped."""
    sizes = (PIXELS, *WIDTHS[name])
    heads, fan_in = (1, sizes[-1]) if name == "lff" else (2, 2 * sizes[-1])
    network = linear(BATCH_SIZE, fan_in, CLASSES, backward=True, input_gradient=True) * heads
    parameters = (fan_in + 1) * CLASSES
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        network += linear(BATCH_SIZE, inputs, outputs, backward=True, input_gradient=number > 0)
        parameters += (inputs + 1) * outputs
    return network * 2 + adam(2 * parameters)


# ---- ours


def our_steps(name: str, loader: bool) -> Callable[[], object]:
    data = published_data().to(choose_device("auto"))
    phase = our_phase(name)
    batches = Batches(data, phase, seed=1, with_bias=False).from_step(1)
    first = next(batches)

    @threads_for(nn.ModuleList(phase.training))
    def steps() -> None:
        for _ in range(STEPS):
            phase.update(next(batches) if loader else first)

    return steps


def our_phase(name: str) -> Phase:
    """Return the phase of a new method with Lee et al.'s or Nam et al.'s settings; DisEnt swaps from its first step."""
    data, device = published_data(), choose_device("auto")
    model = architecture("mlp", {"widths": WIDTHS[name], "input_scale": 1 / 255})
    networks = Networks(model, data.test.image_shape, data.num_classes, seed=1)
    method = METHODS[name]
    swapping: dict[str, Any] = {"curr_step": 0} if name == "disent" else {}
    config = method.Config(epochs=1_000, learning_rate=RATES[name], batch_size=BATCH_SIZE, **swapping)
    task = Task(data.num_classes, data.train.target, seed=1)
    (phase,) = method(config, networks, task).to(device).train().phases()
    return phase


# ---- the same in the reference style


def mlp(name: str) -> nn.Sequential:
    sizes = (PIXELS, *WIDTHS[name])
    layers = [nn.Sequential(nn.Linear(sizes[i], sizes[i + 1]), nn.ReLU()) for i in range(len(sizes) - 1)]
    return nn.Sequential(nn.Flatten(), *layers)


def reference_steps(name: str, loader: bool) -> Callable[[], object]:
    """Time steps that also read the values they log."""
    data = published_data()
    step = {"lff": reference_lff, "disent": reference_disent}[name](data.train.target)
    batches: Iterator[Items] = endless(training_loader(data.train, BATCH_SIZE)) if loader else iter(())
    index = torch.arange(BATCH_SIZE)
    first = (index, as_input(data.train.all_images()[index]), data.train.target[index], data.train.bias[index])

    def steps() -> None:
        for _ in range(STEPS):
            index, image, target, _ = next(batches) if loader else first
            step(index, image / 255, target)

    return steps


def gce(logits: Tensor, target: Tensor) -> Tensor:
    probability = softmax(logits, dim=1).gather(1, target[:, None])[:, 0]
    if bool(probability.isnan().any()):
        raise ValueError("a probability is not a number")
    return cross_entropy(logits, target, reduction="none") * (Q * probability.detach() ** Q)


def weights_of(biased: ClassLoopEMA, debiased: ClassLoopEMA, losses: tuple[Tensor, Tensor], batch: Items) -> Tensor:
    """Return LfF's weights of a batch, checked one by one."""
    index, _, target, _ = batch
    values = []
    for ema, loss in zip((biased, debiased), losses, strict=True):
        ema.update(index, loss.cpu())
        value = ema.normalized(index, target)
        if bool(value.isnan().any()):
            raise ValueError("a running loss is not a number")
        values.append(value)
    return values[0] / (values[0] + values[1] + 1e-8)


def small_network() -> nn.Module:
    return nn.Sequential(mlp("lff"), nn.Linear(WIDTHS["lff"][-1], CLASSES))


def reference_lff(targets: Tensor, network: Callable[[], nn.Module] = small_network) -> Step:
    networks = [network() for _ in range(2)]
    optimizers = [Adam(network.parameters(), lr=RATES["lff"]) for network in networks]
    biased, debiased = (ClassLoopEMA(targets, CLASSES, DECAY) for _ in range(2))

    def step(index: Tensor, image: Tensor, target: Tensor) -> None:
        batch = (index, image, target, target)
        biased_logits, debiased_logits = (network(image) for network in networks)
        biased_ce, debiased_ce = (
            cross_entropy(logits, target, reduction="none") for logits in (biased_logits, debiased_logits)
        )
        weight = weights_of(biased, debiased, (biased_ce.detach(), debiased_ce.detach()), batch)
        biased_loss, debiased_loss = gce(biased_logits, target).mean(), (weight * debiased_ce).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        (biased_loss + debiased_loss).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        biased_loss.item(), debiased_loss.item(), weight.mean().item()

    return step


def reference_disent(targets: Tensor) -> Step:
    encoders = [mlp("disent") for _ in range(2)]
    heads = [nn.Linear(2 * WIDTHS["disent"][-1], CLASSES) for _ in range(2)]
    optimizers = [
        Adam([*encoder.parameters(), *head.parameters()], lr=RATES["disent"])
        for encoder, head in zip(encoders, heads, strict=True)
    ]
    biased, debiased = (ClassLoopEMA(targets, CLASSES, DECAY) for _ in range(2))

    def logits_of(intrinsic: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        first = heads[0](torch.cat([intrinsic, bias.detach()], dim=1))
        return first, heads[1](torch.cat([intrinsic.detach(), bias], dim=1))

    def step(index: Tensor, image: Tensor, target: Tensor) -> None:
        batch = (index, image, target, target)
        intrinsic, bias = (encoder(image) for encoder in encoders)
        intrinsic_logits, bias_logits = logits_of(intrinsic, bias)
        intrinsic_ce = cross_entropy(intrinsic_logits, target, reduction="none")
        bias_ce = cross_entropy(bias_logits, target, reduction="none")
        weight = weights_of(biased, debiased, (bias_ce.detach(), intrinsic_ce.detach()), batch)
        conflict, align = (weight * intrinsic_ce).mean(), gce(bias_logits, target).mean()
        order = torch.randperm(len(target), generator=torch_generator(1, "swap"))
        swapped_intrinsic, swapped_bias = logits_of(intrinsic, bias[order])
        swap_conflict = (weight * cross_entropy(swapped_intrinsic, target, reduction="none")).mean()
        swap_align = gce(swapped_bias, target[order]).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = conflict + 10 * align + swap_conflict + 10 * swap_align
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        for value in (conflict, align, swap_conflict, swap_align):
            value.item()

    return step
