"""How cost grows: an epoch and an evaluation with samples, per-sample state with the data set, queries with runs.

Processor time on one thread, in powers of two; the exponent is that of the power law through the points, by least
squares of logarithms: 1 is linear, 0 independent of the size. The plot goes to benchmarks/results/scaling.png.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy
import torch

from benchmarks.colored_mnist import evaluate, published_data, train_epoch
from benchmarks.queries import write_runs
from benchmarks.results import LATEST
from benchmarks.side_by_side import Row, timed
from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING, Query
from debiaslab.core.randomness import torch_generator
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import Phase, Task
from debiaslab.methods.lff import LfF
from debiaslab.methods.per_sample import RelativeDifficulty
from debiaslab.models import Networks, architecture

REPEATS = 3
BATCH_SIZE, CLASSES = 256, 10
TRAIN_SIZES = (3_750, 7_500, 15_000, 30_000, 60_000)
TEST_SIZES = (625, 1_250, 2_500, 5_000, 10_000)
STATE_SIZES = (15_000, 60_000, 240_000, 960_000)
RUN_COUNTS = (250, 500, 1_000, 2_000)
MARKERS = "os^Dv"


@dataclass(frozen=True)
class Curve:
    """`seconds` for each of `sizes`."""

    name: str
    sizes: Sequence[int]
    seconds: Sequence[float]

    @property
    def exponent(self) -> float:
        return float(numpy.polyfit(numpy.log(self.sizes), numpy.log(self.seconds), 1)[0])


def run() -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    curves = [
        measured("epoch of LfF, by training images", TRAIN_SIZES, epoch_of),
        measured("evaluation, by images", TEST_SIZES, evaluation_of),
        measured("running losses of a batch, by training images", STATE_SIZES, batch_state_of),
        *query_curves(),
    ]
    torch.set_num_threads(threads)
    LATEST.mkdir(exist_ok=True)
    plot(curves, LATEST / "scaling.png")
    rows = []
    for curve in curves:
        for size, seconds in zip(curve.sizes, curve.seconds, strict=True):
            rows.append(Row(name=f"{curve.name}: {size:,}", unit="ms of a processor", ours=1_000 * seconds))
        rows.append(Row(name=f"{curve.name}: exponent", unit="", ours=round(curve.exponent, 2)))
    return rows


def measured(name: str, sizes: Sequence[int], prepare: Callable[[int], Callable[[], object]]) -> Curve:
    """Return the fastest of `REPEATS` repeats at each size, after a warm-up."""
    seconds = []
    for size in sizes:
        work = prepare(size)
        seconds.append(min([timed(work, time.process_time) for _ in range(REPEATS + 1)][1:]))
    return Curve(name, sizes, seconds)


def lff_phase(data: BiasedDataset) -> Phase:
    networks = Networks(architecture("mlp", {}), data.test.image_shape, CLASSES, seed=1)
    method = LfF(LfF.Config(epochs=1_000, batch_size=BATCH_SIZE), networks, Task(CLASSES, data.train.target, seed=1))
    (phase,) = method.phases()
    return phase


def epoch_of(size: int) -> Callable[[], object]:
    data = published_data()
    data = replace(data, train=data.train.select(torch.arange(size)))
    phase, epochs = lff_phase(data), iter(range(REPEATS + 1))
    return lambda: train_epoch(data, phase, next(epochs))


def evaluation_of(size: int) -> Callable[[], object]:
    data = published_data().limit(size)
    phase = lff_phase(data)
    return lambda: evaluate(data, phase)


def batch_state_of(size: int) -> Callable[[], object]:
    generator = torch_generator(0, "benchmark state")
    difficulty = RelativeDifficulty(torch.randint(0, CLASSES, (size,), generator=generator), CLASSES, decay=0.7)
    index = torch.randperm(size, generator=generator)[:BATCH_SIZE]
    losses = torch.rand(2, BATCH_SIZE, generator=generator)
    return lambda: difficulty.weigh(index, losses[0], losses[1])


def query_curves() -> Iterator[Curve]:
    """Time a query that finds all runs, and one that finds a single run."""
    one = Query({"method.name": "denetdm", "data.skew": 0.05, "seed": 3})
    with tempfile.TemporaryDirectory() as place:
        stores = {}
        for count in RUN_COUNTS:
            folder = Path(place) / str(count)
            folder.mkdir()
            write_runs(folder, count)
            stores[count] = FileStore(folder)
        for name, query in (("query that finds all, by runs", EVERYTHING), ("query that finds one, by runs", one)):
            yield measured(name, RUN_COUNTS, partial(question, stores, query))


def question(stores: Mapping[int, FileStore], query: Query, count: int) -> Callable[[], object]:
    return lambda: stores[count].find(query)


def plot(curves: Sequence[Curve], path: Path) -> None:
    """Plot the curves on logarithmic axes; they differ in marker, colour and lightness."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (curve, marker) in enumerate(zip(curves, MARKERS, strict=True)):
        color = colormaps["viridis"](number / len(curves))
        label = f"{curve.name}: exponent {curve.exponent:.2f}"
        axes.loglog(curve.sizes, curve.seconds, marker=marker, color=color, label=label)
    axes.set_xlabel("images or runs")
    axes.set_ylabel("processor time (s)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=8)
    figure.savefig(path, dpi=150)
