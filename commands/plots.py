"""`python main.py plots [with WORDS]`: publication-ready figures of recorded runs.

WORDS select the runs (named configurations and settings, as when starting them) or are options: kind= selects the kinds
of figures; by default all that the runs support. Settings such as data.root= and device= are used by kinds that need
images and networks.

Examples:
  python main.py plots with colored_mnist severity4 kind=ratios,curves
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debiaslab.analysis.plots.curves import BANDS
from debiaslab.analysis.plots.embeddings import PROJECTIONS
from debiaslab.analysis.plots.figure import FORMATS, WIDTHS, save_figure
from debiaslab.analysis.plots.kinds import KINDS, PlotOptions
from debiaslab.analysis.plots.run_groups import group_runs
from debiaslab.analysis.records import Record, without_trials
from debiaslab.commands.results import DEFAULT_METRIC, read_metrics, read_rule
from debiaslab.commands.run_query import RunWords, find_records, read_run_query
from debiaslab.commands.words import one_of_these, some_of_these, word
from debiaslab.core.console import left_out, show
from debiaslab.core.errors import UserError
from debiaslab.core.files import require_writable
from debiaslab.settings.declared import places

DPI = 300


def read_metric(name: str, text: str) -> str:
    return ",".join(read_metrics(name, text))


@dataclass(frozen=True, kw_only=True)
class PlotWords(RunWords):
    kinds: tuple[str, ...] = word(
        "what to draw: A,B", tuple(KINDS), name="kind", read=some_of_these("kind of plot", list(KINDS))
    )
    out: str = word("output folder, same as --out", "plots")
    format: str = word("png, pdf or svg", "png", read=one_of_these("format", list(FORMATS)))
    columns: str = word("page columns: 1 or 2", "2", read=one_of_these("number of columns", [str(n) for n in WIDTHS]))
    rule: str = word("selection rule", "last", read=read_rule)
    metric: str = word("metric to plot", DEFAULT_METRIC, read=read_metric)
    phase: str | None = word("phase of the training; default: the last one")
    band: str = word("band around the mean over seeds: minmax or std", "minmax", read=one_of_these("band", list(BANDS)))
    projections: tuple[str, ...] = word(
        "of the features: A,B",
        ("pca", "tsne"),
        name="projection",
        read=some_of_these("projection", list(PROJECTIONS)),
    )


WORDS = PlotWords


def run(updates: Sequence[str]) -> None:
    """Write the figures and print their paths. Raises `UserError`."""
    asked = read_run_query(updates, PlotWords, places())
    words, out = asked.words, Path(asked.words.out)
    require_writable(out, "out")
    records = find_records(asked.query, asked.log_dir)
    compared = records if asked.names_trials else without_trials(records)
    cells = group_runs(select_drawable(compared, any_status=asked.query.status is not None))
    options = PlotOptions(
        left_out,
        columns=int(words.columns),
        rule=words.rule,
        metric=words.metric,
        phase=words.phase,
        band=words.band,
        projections=words.projections,
        places={"device": "auto", **asked.places},
    )
    count = 0
    for kind in words.kinds:
        try:
            for picture in KINDS[kind](cells, options):
                path = out / f"{picture.name}.{words.format}"
                save_figure(picture.figure, path, DPI)
                show(str(path))
                count += 1
        except UserError as error:
            if len(words.kinds) == 1:
                raise UserError(f"{kind}: {error}") from None
            left_out(f"{kind}: {error}")
    if not count:
        raise UserError("there is nothing to plot for these runs")


def select_drawable(records: Sequence[Record], any_status: bool) -> list[Record]:
    """Training runs with readable evaluations; only completed ones unless `any_status`.

    Raises `UserError` if there is none.
    """
    trained = [run for run in records if run.trained]
    kept = [run for run in trained if run.status == "COMPLETED" or any_status]
    if len(kept) < len(trained):
        unfinished = f"{len(trained) - len(kept)} of {len(trained)} runs, which are not complete"
        left_out(f"{unfinished}; status=running, interrupted or failed shows them")
    readable = []
    for record in kept:
        try:
            if record.history().evaluations:
                readable.append(record)
        except UserError as error:
            left_out(str(error))
    if not readable:
        raise UserError("none of these runs is complete; status=running, interrupted or failed asks for the others")
    return readable
