"""DeNetDM on Colored MNIST: seconds per epoch of each phase, with its evaluation, and milliseconds per step.

An epoch, of a quarter of the training and test images so that the other way takes seconds, too, is compared with the
reference style: from the start of the training and after two epochs, when many of the weights and of Adam's averages
have become so small that some processors take much longer for them. A step is compared with its bare kernels: the
products of the first layers with the images, those that give their weights' gradients, and one fused step of Adam.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax
from torch.optim import Adam

from benchmarks.colored_mnist import evaluate, published_data, train_epoch
from benchmarks.machine import Work, adam, linear
from benchmarks.reference import accuracy, training_loader
from benchmarks.side_by_side import Row, SideBySide, compare
from debiaslab.core.randomness import torch_generator
from debiaslab.core.vision import torchvision
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.methods import Phase, Task
from debiaslab.methods.denetdm import DeNetDM
from debiaslab.models import Networks, architecture
from debiaslab.training.batches import Batches
from debiaslab.training.device import choose_device, threads_for

Step = Callable[[Tensor, Tensor], float]  # on images and targets of a batch; returns the loss

PHASES = ("separate", "distill")
BATCH_SIZE, PIXELS, WIDTH, CLASSES = 64, 3 * 28 * 28, 100, 10
PART = 4  # one in so many images
STEPS = 100  # of a repeat that measures steps


def run() -> list[Row]:
    epochs = [
        SideBySide(
            name=f"{name}, {when}: a quarter of an epoch with evaluation",
            ours=partial(our_epoch, name, trained),
            baseline=partial(reference_epoch, name, trained),
            unit="s",
            goal=25,
            work=step_work(name) * (len(some_data().train) // BATCH_SIZE),
            memory=trained == 0,
        )
        for name in PHASES
        for when, trained in (("from the start", 0), ("after two epochs", 2))
    ]
    steps = [
        SideBySide(
            name=f"{name}: step",
            ours=partial(our_steps, name),
            baseline=partial(bare_kernels, name),
            against="bare kernels",
            unit="ms per step",
            count=STEPS,
            goal=0.5,
            repeats=9,
            clock=time.process_time,
            memory=False,
            work=step_work(name) * STEPS,
        )
        for name in PHASES
    ]
    return [compare(pair) for pair in epochs + steps]


def step_work(name: str) -> Work:
    """Work of a step: the shallow (2) and deep (4) branch with their common head, or the target branch with its head,
    twice."""
    first = linear(BATCH_SIZE, PIXELS, WIDTH, backward=True)
    hidden = linear(BATCH_SIZE, WIDTH, WIDTH, backward=True, input_gradient=True)
    head = linear(BATCH_SIZE, WIDTH, CLASSES, backward=True, input_gradient=True)
    networks = {"separate": (2, 4, 1), "distill": (1, 3, 2)}[name]
    parameters = networks[0] * (PIXELS + 1) * WIDTH + networks[1] * (WIDTH + 1) * WIDTH + (WIDTH + 1) * CLASSES
    return first * networks[0] + hidden * networks[1] + head * networks[2] + adam(parameters)


def some_data() -> BiasedDataset:
    """Return the first images of each split: one `PART`-th of them."""
    data = published_data()
    train, test = (split.select(torch.arange(len(split) // PART)) for split in (data.train, data.test))
    return replace(data, train=train, test=test)


# ---- ours


def our_epoch(name: str, trained: int) -> Callable[[], object]:
    """Time an epoch of the phase `name` with its evaluation, after `trained` whole epochs of each phase."""
    data = some_data().to(choose_device("auto"))
    phase, epochs = our_phase(name, trained), count()

    @threads_for(nn.ModuleList(phase.training))
    def epoch() -> None:
        train_epoch(data, phase, next(epochs))
        evaluate(data, phase)

    return epoch


def our_steps(name: str) -> Callable[[], object]:
    """Time steps, including their batches."""
    data, phase = published_data().to(choose_device("auto")), our_phase(name)
    batches = Batches(data, phase, seed=1, with_bias=False).from_step(0)

    def steps() -> None:
        for _ in range(STEPS):
            phase.update(next(batches))

    return steps


def our_phase(name: str, trained: int = 0) -> Phase:
    """Return the phase `name` of a new method with the published settings, after some epochs of each phase up to it."""
    device = choose_device("auto")
    data = published_data().to(device)
    networks = Networks(architecture("mlp_branches", {}), data.test.image_shape, data.num_classes, seed=1)
    config = DeNetDM.Config(epochs=1_000)
    method = DeNetDM(config, networks, Task(data.num_classes, data.train.target.cpu(), seed=1)).to(device)
    phases = {phase.name: phase for phase in method.phases()}
    with threads_for(method):
        for phase in phases.values():
            batches = Batches(data, phase, seed=1, with_bias=False)
            phase.prepare(batches.in_order())
            for epoch in range(trained):
                train_epoch(data, phase, epoch)
            if phase.name == name:
                break
            phase.finish(batches.in_order())
    return phases[name]


# ---- the same in the reference style


def mlp(depth: int) -> nn.Sequential:
    sizes = [PIXELS, *[WIDTH] * depth]
    layers = [nn.Sequential(nn.Linear(sizes[i], sizes[i + 1]), nn.ReLU()) for i in range(depth)]
    return nn.Sequential(nn.Flatten(), *layers)


class Branches(nn.Module):
    """Two branches, and a head for one of them or for their sum."""

    def __init__(self, first_depth: int) -> None:
        super().__init__()
        self.first, self.deep, self.head = mlp(first_depth), mlp(4), nn.Linear(WIDTH, CLASSES)

    def forward(self, image: Tensor, which: str = "both") -> Tensor:
        if which == "both":
            return self.head(self.first(image) + self.deep(image))  # type: ignore[no-any-return]
        return self.head(self.first(image) if which == "first" else self.deep(image))  # type: ignore[no-any-return]


def as_published() -> Callable[[Image.Image], Tensor]:
    """The transforms that the authors' code applies to every image of Colored MNIST, although it has that size."""
    transforms = torchvision("transforms")
    changes: Callable[[Image.Image], Tensor] = transforms.Compose([transforms.Resize((28, 28)), transforms.ToTensor()])
    return changes


def reference_epoch(name: str, trained: int) -> Callable[[], object]:
    """The same with networks that have been trained for as long."""
    data, changes = some_data(), as_published()
    loader = training_loader(data.train, BATCH_SIZE, changes)
    teacher, student = Branches(2), Branches(4)
    step = separation_step(teacher)
    train_in_memory(step, trained)
    if name == "distill":
        student.deep.load_state_dict(teacher.deep.state_dict())
        student.head.load_state_dict(teacher.head.state_dict())
        step = distillation_step(student, teacher)
        train_in_memory(step, trained)

    def epoch() -> None:
        total = 0.0
        for _, image, target, _ in loader:
            total += step(image, target)
        for branch in ("first", "deep", "both"):
            accuracy(partial(teacher if name == "separate" else student, which=branch), data.test, changes)

    return epoch


def separation_step(networks: Branches) -> Step:
    optimizer = Adam(networks.parameters(), lr=1e-3, weight_decay=1e-3)
    return partial(reference_step, optimizer, lambda image, target: cross_entropy(networks(image), target))


def distillation_step(student: Branches, teacher: Branches) -> Step:
    student.deep.requires_grad_(False)
    optimizer = Adam([parameter for parameter in student.parameters() if parameter.requires_grad], lr=1e-3)

    def loss_of(image: Tensor, target: Tensor) -> Tensor:
        loss = cross_entropy(student(image), target)
        with torch.no_grad():
            soft_targets = softmax(teacher(image, "first") / 2, dim=1)
        log_probabilities = log_softmax(student(image, "first") / 2, dim=1)
        return loss - (soft_targets * log_probabilities).sum(dim=1).mean() * 4

    return partial(reference_step, optimizer, loss_of)


def reference_step(
    optimizer: Adam, loss_of: Callable[[Tensor, Tensor], Tensor], image: Tensor, target: Tensor
) -> float:
    optimizer.zero_grad()
    loss = loss_of(image, target)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def train_in_memory(step: Step, epochs: int) -> None:
    """Train for whole epochs without measuring, and without a loader."""
    train = published_data().train
    for epoch in range(epochs):
        order = torch.randperm(len(train), generator=torch_generator(1, "order", epoch))
        for index in torch.split(order, BATCH_SIZE)[:-1]:
            step(as_input(train.all_images()[index]), train.target[index])


# ---- what a step cannot do without


def bare_kernels(name: str) -> Callable[[], object]:
    """Time the largest kernels of a step alone, on a fixed batch.

    The distillation phase trains one first layer rather than two, as its teachers are constant.
    """
    device = choose_device("auto")
    width = WIDTH * (2 if name == "separate" else 1)
    image, gradient = torch.rand(BATCH_SIZE, PIXELS, device=device), torch.rand(BATCH_SIZE, width, device=device)
    parameters = [nn.Parameter(parameter.clone()) for parameter in trained_parameters(name)]
    for parameter in parameters:
        parameter.grad = torch.rand_like(parameter)
    optimizer = Adam(parameters, fused=True)
    weight, output = torch.rand(width, PIXELS, device=device), torch.empty(BATCH_SIZE, width, device=device)
    weight_gradient = torch.empty_like(weight)

    def steps() -> None:
        for _ in range(STEPS):
            torch.mm(image, weight.T, out=output)
            torch.mm(gradient.T, image, out=weight_gradient)
            optimizer.step()

    return steps


def trained_parameters(name: str) -> list[Tensor]:
    optimizer = next(iter(our_phase(name).optimizers.values()))
    return [parameter.detach() for group in optimizer.param_groups for parameter in group["params"]]
