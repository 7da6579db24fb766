"""`python main.py with WORDS`: train a method on a data set, and record everything.

Examples:
  python main.py with colored_mnist severity4 method=denetdm
  python main.py with custom data.images=photographs method=lff
"""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from debiaslab.analysis.plots import has_diagnostics, save_curves, save_diagnostics
from debiaslab.analysis.result import accuracy_tables, result_of, title_of
from debiaslab.analysis.samples import add_sample_grid
from debiaslab.commands.evaluate import evaluate_weights
from debiaslab.commands.runs import Prepared, record_folder
from debiaslab.commands.telling import facts_of, labels_of_setup, say_notes, say_start, say_where
from debiaslab.config import Run, ex
from debiaslab.core.console import show
from debiaslab.core.files import atomic_write
from debiaslab.core.ranks import of_this_process, shared_by
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.cache import fingerprint
from debiaslab.evaluation.diagnostics import SAMPLES, selection_report, tabulate_samples
from debiaslab.evaluation.history import EVALUATIONS, History
from debiaslab.evaluation.selection import parse_rule
from debiaslab.lockstep.graphs import replay_steps
from debiaslab.methods import Method
from debiaslab.models.batch_norm import share_encoders
from debiaslab.recording.observers import STATE, content_type
from debiaslab.recording.progress import ProgressLine
from debiaslab.recording.recorder import RunRecorder
from debiaslab.settings.declared import earlier_values
from debiaslab.settings.setup import Setup
from debiaslab.training.checkpoint import LAST, SELECTED, write_checkpoint
from debiaslab.training.device import threads_for
from debiaslab.training.loop import Options, Trained, Trainer

DRAWN = "_samples"  # folder among the records, with the sample grid of each data set


@ex.main
def train(prepared: Prepared, fit: Callable[[Trainer], Trained] = Trainer.fit, *, _run: Run) -> dict[str, Any]:
    """Train the method, record everything, and print the result."""
    setup, device, data, method = prepared.setup, prepared.device, prepared.data, prepared.method
    if not setup.run.train:
        return evaluate_weights(prepared, _run)
    folder = record_folder(_run)
    say_start(setup, _run)
    say_notes(setup, data)
    _run.info.update(facts_of(setup, data, device))
    if folder is not None and not data.has_features:
        drawn = fingerprint(settings=setup.config["data"], content=data.fingerprint)
        add_sample_grid(folder / "samples.png", data, folder.parent / DRAWN / f"{drawn}.png")
        add_artifacts(_run, folder, ["samples.png"])

    data = setup.place(data, device)
    options = Options(
        seed=setup.run.seed,
        selection=setup.run.selection,
        evaluate_every=setup.run.evaluate_every,
        identity=setup.identity(data),
        earlier=earlier_values(setup.config),
        checkpoint=None if folder is None else folder / STATE,
        checkpoint_seconds=setup.run.checkpoint_seconds,
        workers=setup.run.workers,
        decodability=setup.run.decodability,
    )
    phase = method.phases()[-1].name
    ranks = of_this_process()
    if ranks is not None:
        share_encoders(method, ranks)
    with ProgressLine() as line, threads_for(method), shared_by(ranks):
        trainer = Trainer(method, data, options, RunRecorder(_run.log_scalar, folder, phase, line))
        if setup.run.resume is not None:
            _run.info["resumed_from"] = setup.run.resume
            trainer.restore(Path(setup.run.resume) / STATE)
        with replay_steps(trainer) if setup.run.cuda_graphs else nullcontext():
            trained = fit(trainer)

    rule = parse_rule(setup.run.selection, data.valid is not None, "selection")
    result = result_of(trained.history, phase, rule)
    if folder is not None:
        save_outcome(_run, folder, setup, data, method, trained, result)
    labels = labels_of_setup(setup, data)
    show(title_of(setup.config), *accuracy_tables(result, {rule.name: rule.label}), labels)
    if folder is not None:
        save_pictures(_run, folder, trained.history, f"{title_of(setup.config)}\n{labels}")
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
    """Write weights and what is known of training images into the run's folder, and add them as artifacts."""
    setup.save_weights(folder / LAST, method.weights(), data, {"rule": "last", **result["last"]})
    rule = parse_rule(setup.run.selection, data.valid is not None, "selection")
    setup.save_weights(folder / SELECTED, trained.selected, data, {"rule": rule.name, **result[rule.name]})
    artifacts = [LAST, SELECTED, EVALUATIONS]
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
    add_artifacts(run, folder, artifacts)


def save_pictures(run: Run, folder: Path, history: History, title: str) -> None:
    """Draw the run's curves and diagnostics into its folder, and add them as artifacts."""
    pictures = ["curves.png"]
    save_curves(folder / "curves.png", history, title)
    if has_diagnostics(history):
        save_diagnostics(folder / "diagnostics.png", history, title)
        pictures.append("diagnostics.png")
    add_artifacts(run, folder, pictures)


def add_artifacts(run: Run, folder: Path, names: list[str]) -> None:
    for name in names:
        run.add_artifact(folder / name, content_type=content_type(name))
