"""Seconds per epoch of each DeNetDM phase on Colored MNIST, with and without evaluation.

Data: real MNIST if `DEBIAS_DATA` (or data/) has it, else random images of the same shapes: time does not depend on
the pixels.
"""

import os
import statistics
import time
from pathlib import Path

import torch

from core.errors import UserError
from core.randomness import torch_generator
from datasets import BiasedDataset, Split, dataset_config
from methods import Phase, Task
from methods.denetdm import DeNetDM
from models import Networks, architecture
from training.batches import Batches
from training.device import choose_device
from training.evaluation import count_groups

REPEATS = 5


def run() -> dict[str, float]:
    """Median seconds of `REPEATS` epochs after one to warm up: "<phase>/train" and "<phase>/train+evaluation"."""
    device = choose_device("auto")
    data, source = published_data()
    data = data.to(device)
    networks = Networks(architecture("mlp_branches", {}), (3, 28, 28), data.num_classes, seed=1)
    task = Task(data.num_classes, data.train.target.cpu(), seed=1)
    method = DeNetDM(DeNetDM.Config(), networks, task).to(device)
    machine = (
        f"{torch.cuda.get_device_name(device)}" if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    print(f"{machine}; torch {torch.__version__}; {len(data.train)} training images ({source}), {len(data.test)} test")
    seconds: dict[str, float] = {}
    for phase in method.phases():
        method.train()
        train, evaluation = [], []
        for epoch in range(REPEATS + 1):
            train.append(timed(lambda phase=phase, epoch=epoch: train_epoch(data, phase, epoch), device))
            evaluation.append(timed(lambda phase=phase: evaluate(data, phase), device))
        seconds[f"{phase.name}/train"] = statistics.median(train[1:])
        both = [sum(pair) for pair in zip(train[1:], evaluation[1:], strict=True)]
        seconds[f"{phase.name}/train+evaluation"] = statistics.median(both)
    for name, value in seconds.items():
        print(f"{name:28} {value:7.3f} s per epoch")
    return seconds


def timed(work, device: torch.device) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def train_epoch(data: BiasedDataset, phase: Phase, epoch: int) -> None:
    batches = Batches(data, phase, seed=1, with_bias=False)
    for step, batch in enumerate(batches.from_step(epoch * batches.steps_per_epoch), start=1):
        phase.update(batch)
        if step == batches.steps_per_epoch:
            return


def evaluate(data: BiasedDataset, phase: Phase) -> None:
    for split in data.evaluation_splits().values():
        count_groups(phase.logits, split, data)


def published_data() -> tuple[BiasedDataset, str]:
    """Colored MNIST by the published protocol, and where it is from."""
    root = os.environ.get("DEBIAS_DATA", "data")
    if (Path(root) / "MNIST").is_dir():
        try:
            config = dataset_config({"name": "colored_mnist", "root": root, "protocol": "published", "skew": 0.005})
            return config.load(), "MNIST"
        except UserError as error:
            print(f"no MNIST: {error}")
    generator = torch_generator(0, "benchmark images")

    def split(size: int) -> Split:
        images = torch.randint(0, 256, (size, 3, 28, 28), dtype=torch.uint8, generator=generator)
        target = torch.randint(0, 10, (size,), generator=generator)
        return Split(images, target, target.clone())

    return BiasedDataset("colored_mnist", split(60_000), None, split(10_000), 10, 10, "random"), "random pixels"
