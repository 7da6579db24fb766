"""Command line: train or evaluate a debiasing method, with a permanent record.

python main.py with colored_mnist severity4 method=denetdm
python main.py with colored_mnist severity4 method=denetdm seeds=5            (five runs)
python main.py inspect with colored_mnist               what the data are, and what of them is missing
python main.py evaluate with colored_mnist severity4 method=denetdm checkpoint=runs/ID
python main.py results with colored_mnist severity4      (what has been recorded, as a table)
python main.py compare RUN RUN                           all accuracies of recorded runs, given by id or folder
python main.py rerun RUN                                 repeat a recorded run, and say whether the result is the same
python main.py -m HOST:PORT:DB sync                      copy file records into MongoDB
python main.py study with colored_mnist published methods=erm,lff variants=skewed1,skewed4 seeds=1-3 jobs=2
python main.py search with biased_mnist rho997 method=end                 (the best hyper-parameters)
python main.py plots with colored_mnist severity4        (pictures of it)
python main.py report --out DIR                         (the same as a page for the browser; export: for TensorBoard)
python main.py print_config with ...      python main.py print_named_configs      python main.py --help
"""

import gc

gc.disable()  # what the imports make stays: looking through it, again and again, takes a tenth of the start

import debiaslab.core  # noqa: F401 (first: it sets what torch reads when it is imported)

# isort: split
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

from debiaslab.analysis.inspection import inspected
from debiaslab.analysis.plots import has_diagnostics, save_curves, save_diagnostics
from debiaslab.analysis.result import result_of, result_tables, title_of
from debiaslab.analysis.samples import save_sample_grid
from debiaslab.commands import COMMANDS, answer, as_parsed
from debiaslab.config import Run, ex
from debiaslab.core.errors import UserError
from debiaslab.core.files import atomic_write, require_writable
from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.counting import correct_counts
from debiaslab.evaluation.diagnostics import SAMPLES, selection_report, tabulate_samples
from debiaslab.evaluation.history import EVALUATIONS, Evaluation, empty_history
from debiaslab.evaluation.selection import parse_rule
from debiaslab.lockstep.graphs import replay_steps
from debiaslab.methods import Method
from debiaslab.recording.command_line import run_command_line
from debiaslab.recording.observers import STATE, FileRecord, content_type, mongo_from_environment
from debiaslab.recording.progress import ProgressLine
from debiaslab.recording.recorder import RunRecorder
from debiaslab.recording.version import code_version
from debiaslab.training.checkpoint import LAST, SELECTED, write_checkpoint
from debiaslab.training.device import threads_for
from debiaslab.training.loop import Options, Trained, Trainer
from debiaslab.training.setup import Setup, read_data_settings, read_setup

gc.freeze()  # what has been imported stays: no later look for garbage passes over it, nor the one at exit
gc.enable()

ex.doc = __doc__  # what --help shows
RECORDED = ("train", "evaluate")  # commands that leave a record


@ex.config_hook
def check(config: dict[str, Any], command_name: str, logger: Any) -> dict[str, Any]:
    """Whatever can be wrong is found here, before the run starts and leaves a record."""
    if command_name == "inspect":  # whatever the method
        read_data_settings(config)
        return {}
    setup = read_setup(config)
    if command_name in RECORDED:
        trains = not evaluates_only(setup, command_name)
        if trains and setup.run.checkpoint is not None:
            raise UserError(
                f"checkpoint={setup.run.checkpoint} is not used in training: to evaluate it, python main.py evaluate"
                " with ..., or train=False; to go on with a run, resume=RUN"
            )
        if not trains and setup.run.resume is not None:
            raise UserError(f"resume={setup.run.resume} goes on with a training; leave it out to evaluate weights")
        device, data = setup.device(), setup.load_data()
        # refuses a model without the networks that the method needs, and weights to start from that cannot be had
        method = setup.build_method(data, device, pretrained=trains)
        if trains:
            setup.check_graphs(method)
        if setup.run.resume is not None:
            setup.check_resume(Path(setup.run.resume) / STATE, data)
        if not trains:
            setup.check_weights(weights_file(setup), data)
        require_writable(Path(setup.run.log_dir), "log_dir")
        mongo = mongo_from_environment()
        ex.observers[:] = [FileRecord(setup.run.log_dir), *([mongo] if mongo else [])]
    return {}


@ex.main
def train(_config: dict[str, Any], _run: Run) -> dict[str, Any]:
    """Train the method, record everything, print the result."""
    setup = read_setup(_config)
    if evaluates_only(setup, "train"):
        return evaluate_weights(setup, _run)
    device, data = setup.device(), setup.load_data()
    folder = record_folder(_run)
    say_notes(data)
    _run.info.update(facts_of(data, device))
    if folder is not None:
        save_sample_grid(folder / "samples.png", data)
        _run.add_artifact(folder / "samples.png", content_type=content_type("samples.png"))

    data = setup.placed(data, device)
    method = setup.build_method(data, device)
    options = Options(
        seed=setup.run.seed,
        selection=setup.run.selection,
        evaluate_every=setup.run.evaluate_every,
        identity=setup.identity(data),
        checkpoint=None if folder is None else folder / STATE,
        checkpoint_seconds=setup.run.checkpoint_seconds,
        workers=setup.run.workers,
        decodability=setup.run.decodability,
    )
    phase = method.phases()[-1].name
    with ProgressLine() as line, threads_for(method):
        trainer = Trainer(method, data, options, RunRecorder(_run.log_scalar, folder, phase, line))
        if setup.run.resume is not None:
            _run.info["resumed_from"] = setup.run.resume
            trainer.restore(Path(setup.run.resume) / STATE)
        fit: Callable[[Trainer], Trained] = getattr(_run, "fit", Trainer.fit)
        with replay_steps(trainer) if setup.run.cuda_graphs else nullcontext():
            trained = fit(trainer)

    rule = parse_rule(setup.run.selection, data.valid is not None, "selection")
    result = result_of(trained.history, phase, rule)
    if folder is not None:
        save_outcome(_run, folder, setup, data, method, trained, result)
    show(title_of(setup.config), *result_tables(result, {rule.name: rule.label}))
    say_where(setup, _run)
    return result


def save_outcome(
    run: Run,
    folder: Path,
    setup: Setup,
    data: BiasedDataset,
    method: Method,
    trained: Trained,
    result: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write weights and pictures into the run's folder, and make them artifacts of its record."""
    setup.save_weights(folder / LAST, method.weights(), data, {"rule": "last", **result["last"]})
    rule = parse_rule(setup.run.selection, data.valid is not None, "selection")
    setup.save_weights(folder / SELECTED, trained.selected, data, {"rule": rule.name, **result[rule.name]})
    save_curves(folder / "curves.png", trained.history, title_of(setup.config))
    artifacts = [LAST, SELECTED, EVALUATIONS, "curves.png"]
    if has_diagnostics(trained.history):
        save_diagnostics(folder / "diagnostics.png", trained.history, title_of(setup.config))
        artifacts.append("diagnostics.png")
    notes = method.sample_notes()
    if notes.kept is not None:
        report = selection_report(notes.kept, data)
        with atomic_write(folder / "selection.json") as temporary:
            temporary.write_text(json.dumps(report))
        artifacts.append("selection.json")
    samples = tabulate_samples(notes, data)
    if samples:
        write_checkpoint(folder / SAMPLES, samples, {})
        artifacts.append(SAMPLES)
    for name in artifacts:
        run.add_artifact(folder / name, content_type=content_type(name))


@ex.command
def evaluate(_config: dict[str, Any], _run: Run) -> dict[str, Any]:
    """Evaluate the weights of `checkpoint=PATH` (a file, or a run's folder: its last weights)."""
    return evaluate_weights(read_setup(_config), _run)


def evaluate_weights(setup: Setup, run: Run) -> dict[str, Any]:
    """Group accuracies of the weights in `setup.run.checkpoint` on all evaluation splits: recorded and printed."""
    device = setup.device()
    data = setup.placed(setup.load_data(), device)
    say_notes(data)
    method = setup.build_method(data, device, pretrained=False)
    path = weights_file(setup)
    facts = setup.load_weights(path, method, data)
    method.eval()
    phase = method.phases()[-1]
    with threads_for(method):
        correct = correct_counts(phase.logits, data, setup.run.workers)
    evaluation = Evaluation(phase.name, facts["epoch"], facts["step"], facts["step"], {}, correct)
    history = empty_history(data)
    history.evaluations.append(evaluation)

    folder = record_folder(run)
    run.info.update(facts_of(data, device))
    with ProgressLine() as line:
        RunRecorder(run.log_scalar, folder, phase.name, line).evaluated(history, evaluation)
    if folder is not None:
        run.add_artifact(folder / EVALUATIONS, content_type=content_type(EVALUATIONS))
    rule = parse_rule(facts["rule"], True, "rule")
    result = {rule.name: result_of(history, phase.name, parse_rule("last", True, "rule"))["last"]}
    show(f"{path}\non {title_of(setup.config)}", *result_tables(result, {rule.name: rule.label}))
    say_where(setup, run)
    return result


@ex.command(unobserved=True)
def inspect(_config: dict[str, Any]) -> None:
    """Show what a data set is: the files it needs and which are missing, sizes, groups, sample images."""
    run, data = read_data_settings(_config)
    for thing in inspected(_config["data"]["name"], data, Path(run.log_dir), run.memory_gb):
        show(thing)


# ---- what both commands need


def evaluates_only(setup: Setup, command: str) -> bool:
    return command == "evaluate" or not setup.run.train


def weights_file(setup: Setup) -> Path:
    """The file that `checkpoint` names. Raises `UserError` if it names none."""
    if setup.run.checkpoint is None:
        raise UserError("nothing to evaluate: name the weights with checkpoint=PATH, a file or a run's folder")
    path = Path(setup.run.checkpoint)
    return path / LAST if path.is_dir() else path


def record_folder(run: Run) -> Path | None:
    """The run's folder; None for a run without records (-u)."""
    return next((Path(observer.dir).absolute() for observer in run.observers if isinstance(observer, FileRecord)), None)


def facts_of(data: BiasedDataset, device: torch.device) -> dict[str, Any]:
    """What a record says of data, machine and code beside the configuration."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    facts: dict[str, Any] = {"fingerprint": data.fingerprint, "notes": list(data.notes)}
    facts["sizes"] = {name: len(split) for name, split in data.splits().items()}
    names = {"classes": data.class_names, "biases": data.bias_names}
    facts |= {kind: None if found is None else list(found) for kind, found in names.items()}
    return {
        "data": facts,
        "machine": {"device": name, "torch": str(torch.__version__)},
        "code": code_version(),
    }


def say_notes(data: BiasedDataset) -> None:
    """Print what the user should know of the data that was read."""
    for note in data.notes:
        print(note)
    if data.tells_conflicting() and data.aligned_samples(data.train).all():
        print(f"none of the {len(data.train):,} training images conflicts with the bias")


def show(*things: Any) -> None:
    """Print to standard output, one below the other, at least as wide as the tables are; lines of text unbroken."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    console.width = max(console.width, 80)
    for thing in things:
        console.print(thing, soft_wrap=isinstance(thing, (str, Text)))


def say_where(setup: Setup, run: Run) -> None:
    """Where the record is, and what to type next."""
    folder = record_folder(run)
    if folder is None:
        print("not recorded (-u)")
        return
    shown = Path(setup.run.log_dir) / str(run._id)
    mongo: list[Any] = [observer for observer in run.observers if not isinstance(observer, FileRecord)]
    quoted = shlex.quote(str(shown))
    print(f"recorded in {shown}")
    for record in mongo:
        if record.failed:
            print(f"not complete in MongoDB {record.address}, which failed on the way")
        else:
            print(f"recorded in MongoDB {record.address} as run {run._id}")
    if setup.run.checkpoint is None:
        print(f"curves: {shown}/curves.png; to compare: python main.py compare {quoted} OTHER_RUN")


def how_to_resume(command: str | None, updates: list[str]) -> str:
    """What to say after an interruption: the command that goes on, if there is anything to go on with."""
    folder = record_folder(ex.current_run) if ex.current_run is not None else None
    resume: list[str] = []
    if folder is not None and (folder / STATE).exists():
        updates = [update for update in updates if not update.startswith("resume=")]
        resume = [f"resume={os.path.relpath(folder)}"]
    elif command not in COMMANDS:
        return "interrupted"
    settings = [*updates, *resume]
    words = [*([command] if command else []), *(["with", *settings] if settings else [])]
    return f"interrupted; to go on: python main.py {shlex.join(words)}"


def run(arguments: list[str]) -> int:
    """Run the command line `arguments` and return the exit code."""
    return run_command_line(ex, as_parsed(arguments), how_to_resume, COMMANDS, answer)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
