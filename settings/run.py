"""The settings of a run that belong to no ingredient."""

from dataclasses import dataclass

from debiaslab.core.randomness import SEEDS, SEEDS_IN_WORDS
from debiaslab.core.settings import Settings, known_as, must_be, not_negative, positive, require, setting, setting_names
from debiaslab.models.numerics import PRECISIONS

AUTO = "auto"  # a selection rule that is resolved when the data are read


@dataclass(frozen=True, kw_only=True)
class TrialSettings(Settings):
    """Which trial of a search a run is, or that it has the best settings of one; set by `main.py search` and `main.py
    study`, otherwise all None."""

    search: str | None = setting(None, "name of the search that the run belongs to", identity=False)
    trial: int | None = setting(None, "number of the trial in the search", identity=False)
    tuned: int | None = setting(
        None, "number of trials of which the run has the best settings; it is none of them", positive, before=None
    )
    objective: str | None = setting(None, "metric that the search optimises, under the rule selection", identity=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = self.trial if self.tuned is None else self.tuned
        marks = {mark is None for mark in (self.search, kind, self.objective)}
        require(len(marks) == 1, "search", self.search, "given with trial and objective; `main.py search` does")
        require(self.trial is None or self.tuned is None, "tuned", self.tuned, "None for a trial")


TRIAL_SETTINGS = tuple(setting_names(TrialSettings))


@dataclass(frozen=True, kw_only=True)
class RunSettings(TrialSettings):
    """How a run is trained, evaluated and recorded, independent of data, method and model."""

    seed: int = setting(
        1,
        "seed of initial weights and batch order; the data have their own",
        must_be(SEEDS_IN_WORDS, lambda seed: seed in SEEDS),
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:N, mps", place=True)
    train: bool = setting(True, "False: only evaluate `checkpoint`", identity=False)
    checkpoint: str | None = setting(None, "weights to evaluate: a file, or a run's folder", identity=False)
    resume: str | None = setting(None, "folder of an interrupted run to resume", identity=False)
    start_from: str | None = setting(
        None,
        "weights of a run that training starts from: its folder (those by its rule), or a file",
        before=None,
    )
    log_dir: str = setting("runs", "folder of the records", must_be("the name of a folder", bool), identity=False)
    selection: str = setting(AUTO, "rule that selects the best checkpoint; auto: by the protocol")
    evaluate_every: int = setting(1, "epochs of the training images between evaluations", positive)
    evaluate_images: int | None = setting(
        None,
        "number of random images of each split to evaluate on; None: all",
        must_be("positive, or None for all", lambda images: images > 0),
    )
    decodability: int | None = setting(
        None,
        "epochs between measurements of how well target and bias can be decoded from the features; None: never",
        must_be("positive, or None not to measure it", lambda epochs: epochs > 0),
        identity=False,
    )
    checkpoint_seconds: float = setting(
        10.0,
        "minimum seconds between saves of the state for resume, at evaluations, in at most 2 % of the time; 0: at each",
        not_negative,
        identity=False,
    )
    precision: str = setting(
        "float32",
        "dtype of the networks' matrix products and convolutions: float32, bf16",
        known_as("precision", PRECISIONS),
        before="float32",
    )
    channels_last: bool = setting(False, "channels-last memory format for images and convolutions", before=False)
    cuda_graphs: bool = setting(
        False, "capture the training step in a CUDA graph and replay it: for small networks", identity=False
    )
    ranks: int = setting(
        1, "processes that train the run, each on a part of every batch, with a GPU each", positive, identity=False
    )
    memory_gb: float = setting(
        4.0,
        "load image files into device memory if all of them fit into this many GiB",
        not_negative,
        place=True,
    )
    workers: int = setting(
        2,
        "threads that read images which do not fit and, on a CPU, augment images",
        not_negative,
        place=True,
    )

    @property
    def memory_bytes(self) -> float:
        """The memory that the images of a data set may take on the device, in bytes."""
        return self.memory_gb * 2**30
