"""DeNetDM on Colored MNIST: seconds per epoch of each phase, with its evaluation."""

from collections.abc import Callable
from itertools import count

from benchmarks.colored_mnist import evaluate, published_data, train_epoch
from benchmarks.side_by_side import Row, median_seconds
from methods import Phase, Task
from methods.denetdm import DeNetDM
from models import Networks, architecture
from training.device import choose_device


def run() -> list[Row]:
    return [
        Row(name=f"{name}: epoch with evaluation", unit="s per epoch", ours=median_seconds(our_epoch(name)))
        for name in ("separate", "distill")
    ]


def our_epoch(name: str) -> Callable[[], None]:
    """An epoch of the phase `name`, with the evaluation at its end."""
    data = published_data().to(choose_device("auto"))
    phase, epochs = our_phase(name), count()

    def epoch() -> None:
        train_epoch(data, phase, next(epochs))
        evaluate(data, phase)

    return epoch


def our_phase(name: str) -> Phase:
    """The phase `name` of a new method with the published settings, in train mode."""
    data, device = published_data(), choose_device("auto")
    networks = Networks(architecture("mlp_branches", {}), data.test.image_shape, data.num_classes, seed=1)
    config = DeNetDM.Config(epochs=1_000)
    method = DeNetDM(config, networks, Task(data.num_classes, data.train.target, seed=1)).to(device)
    return {phase.name: phase for phase in method.phases()}[name]
