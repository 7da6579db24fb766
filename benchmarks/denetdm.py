"""DeNetDM on Colored MNIST: seconds per epoch of each phase, with its evaluation, and milliseconds per step.

An epoch, of a quarter of the training and test images so that the other way takes seconds, too, is compared with the
reference style; a step with its bare kernels: the products of the first layers with the images, those that give their
weights' gradients, and one fused step of Adam.
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
from core.vision import torchvision
from datasets import BiasedDataset
from methods import Phase, Task
from methods.denetdm import DeNetDM
from models import Networks, architecture
from training.batches import Batches
from training.device import choose_device, threads_for

PHASES = ("separate", "distill")
BATCH_SIZE, PIXELS, WIDTH, CLASSES = 64, 3 * 28 * 28, 100, 10
PART = 4  # one in so many images
STEPS = 100  # of a repeat that measures steps


def run() -> list[Row]:
    epochs = [
        SideBySide(
            name=f"{name}: a quarter of an epoch with evaluation",
            ours=partial(our_epoch, name),
            baseline=partial(reference_epoch, name),
            unit="s",
            goal=25,
            work=step_work(name) * (len(some_data().train) // BATCH_SIZE),
        )
        for name in PHASES
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
    """Layers of shallow (2) and deep (4) branch and their sum's head; or of the target branch and its head, twice."""
    first = linear(BATCH_SIZE, PIXELS, WIDTH, backward=True)
    hidden = linear(BATCH_SIZE, WIDTH, WIDTH, backward=True, input_gradient=True)
    head = linear(BATCH_SIZE, WIDTH, CLASSES, backward=True, input_gradient=True)
    networks = {"separate": (2, 4, 1), "distill": (1, 3, 2)}[name]
    parameters = networks[0] * (PIXELS + 1) * WIDTH + networks[1] * (WIDTH + 1) * WIDTH + (WIDTH + 1) * CLASSES
    return first * networks[0] + hidden * networks[1] + head * networks[2] + adam(parameters)


def some_data() -> BiasedDataset:
    """The first images of each split, one in `PART`."""
    data = published_data()
    train, test = (split.select(torch.arange(len(split) // PART)) for split in (data.train, data.test))
    return replace(data, train=train, test=test)


# ---- ours


def our_epoch(name: str) -> Callable[[], object]:
    """An epoch of the phase `name`, with the evaluation at its end."""
    data = some_data().to(choose_device("auto"))
    phase, epochs = our_phase(name), count()

    @threads_for(nn.ModuleList(phase.training))
    def epoch() -> None:
        train_epoch(data, phase, next(epochs))
        evaluate(data, phase)

    return epoch


def our_steps(name: str) -> Callable[[], object]:
    """Steps with their batches."""
    data, phase = published_data().to(choose_device("auto")), our_phase(name)
    batches = Batches(data, phase, seed=1, with_bias=False).from_step(0)

    def steps() -> None:
        for _ in range(STEPS):
            phase.update(next(batches))

    return steps


def our_phase(name: str) -> Phase:
    """The phase `name` of a new method with the published settings, ready for its first step."""
    device = choose_device("auto")
    data = published_data().to(device)
    networks = Networks(architecture("mlp_branches", {}), data.test.image_shape, data.num_classes, seed=1)
    config = DeNetDM.Config(epochs=1_000)
    method = DeNetDM(config, networks, Task(data.num_classes, data.train.target.cpu(), seed=1)).to(device)
    phase = {phase.name: phase for phase in method.phases()}[name]
    phase.prepare(Batches(data, phase, seed=1, with_bias=False).in_order())
    return phase


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
    """What the authors' code does to every image of Colored MNIST, which has that size already."""
    transforms = torchvision("transforms")
    changes: Callable[[Image.Image], Tensor] = transforms.Compose([transforms.Resize((28, 28)), transforms.ToTensor()])
    return changes


def reference_epoch(name: str) -> Callable[[], object]:
    data, changes = some_data(), as_published()
    loader = training_loader(data.train, BATCH_SIZE, changes)
    teacher, student = Branches(2), Branches(4)
    trained = teacher if name == "separate" else student
    if name == "distill":
        student.deep.requires_grad_(False)
    optimizer = Adam([parameter for parameter in trained.parameters() if parameter.requires_grad], lr=1e-3)

    def loss_of(image: Tensor, target: Tensor) -> Tensor:
        loss = cross_entropy(trained(image), target)
        if name == "separate":
            return loss
        with torch.no_grad():
            soft_targets = softmax(teacher(image, "first") / 2, dim=1)
        log_probabilities = log_softmax(student(image, "first") / 2, dim=1)
        return loss - (soft_targets * log_probabilities).sum(dim=1).mean() * 4

    def epoch() -> None:
        total = 0.0
        for _, image, target, _ in loader:
            optimizer.zero_grad()
            loss = loss_of(image, target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        for branch in ("first", "deep", "both"):
            accuracy(partial(trained, which=branch), data.test, changes)

    return epoch


# ---- what a step cannot do without


def bare_kernels(name: str) -> Callable[[], object]:
    """Steps of the largest kernels alone, on a batch that stays where it is.

    The distillation phase, as its teachers are constant, has one first layer to train, not two.
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
