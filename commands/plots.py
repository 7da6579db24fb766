"""`python main.py plots [with WORDS]`: pictures of recorded runs, for print.

WORDS are those that the runs were started with (named configurations and settings), which choose the runs;
status=NAME, id=ID, since=DATE, until=DATE do, too. kind=NAME (or several, separated by commas) says what to draw:
curves, groups, weights, ratios, embeddings, decodability, hardest; without it, all that the runs allow. Further:
out=FOLDER, format=png, pdf or svg, columns=1 or 2 (of a page), rule=last, metric=test/unbiased, phase=NAME,
band=minmax or std, projection=pca,tsne, and data.root=DIR, device=NAME for the kinds that need images and networks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from debiaslab.analysis.records import Record
from debiaslab.commands.question import Question, found_records, literal, read_question
from debiaslab.commands.results import DEFAULT_METRIC, require_metrics
from debiaslab.core.console import left_out, show
from debiaslab.core.errors import UserError, require_known
from debiaslab.core.files import require_writable
from debiaslab.evaluation.selection import parse_rule
from debiaslab.settings.declared import places

if TYPE_CHECKING:
    from debiaslab.analysis.plots.kinds import PlotOptions

PLACES = places()  # of this machine, for the kinds that need images and networks
WORDS = ("kind", "out", "format", "columns", "rule", "metric", "phase", "band", "projection", *PLACES)
DPI = 300


def answer(updates: Sequence[str]) -> None:
    """Write the pictures and say where they are. Raises `UserError`."""
    from debiaslab.analysis.plots.figure import FORMATS, save_figure
    from debiaslab.analysis.plots.kinds import KINDS
    from debiaslab.analysis.plots.run_groups import group_runs

    question = read_question(updates, WORDS)
    words = question.words
    kinds = words["kind"].split(",") if "kind" in words else list(KINDS)
    for kind in kinds:
        require_known("kind of plot", kind, KINDS)
    ending = words.get("format", "png")
    require_known("format", ending, FORMATS)
    options, out = read_options(words), Path(words.get("out", "plots"))
    require_writable(out, "out")
    cells = group_runs(select_drawable(found_records(question), question))
    count = 0
    for kind in kinds:
        try:
            for picture in KINDS[kind](cells, options):
                path = out / f"{picture.name}.{ending}"
                save_figure(picture.figure, path, DPI)
                show(str(path))
                count += 1
        except UserError as error:
            if len(kinds) == 1:
                raise UserError(f"{kind}: {error}") from None
            left_out(f"{kind}: {error}")
    if not count:
        raise UserError("nothing could be drawn of these runs")


def read_options(words: Mapping[str, str]) -> "PlotOptions":
    """How to draw, from the command's own words. Raises `UserError` for a value that is not allowed."""
    from debiaslab.analysis.plots.curves import BANDS
    from debiaslab.analysis.plots.embeddings import parse_projections
    from debiaslab.analysis.plots.figure import WIDTHS
    from debiaslab.analysis.plots.kinds import PlotOptions

    own = {name: words[name] for name in ("rule", "metric", "phase", "band") if name in words}
    columns = words.get("columns", "2")
    require_known("number of columns", columns, map(str, WIDTHS))
    require_known("band", own.get("band", "minmax"), BANDS)
    parse_rule(own.get("rule", "last"), True, "rule")
    require_metrics(own.get("metric", DEFAULT_METRIC))
    projections = parse_projections(words["projection"]) if "projection" in words else PlotOptions.projections
    here = {"device": "auto"} | {name: literal(words[name]) for name in PLACES if name in words}
    return PlotOptions(left_out, int(columns), projections=projections, places=here, **own)


def select_drawable(records: Sequence[Record], question: Question) -> list[Record]:
    """The runs that trained and whose evaluations can be read; complete ones, unless status=NAME asks for others.

    Raises `UserError` if there is none.
    """
    trained = [run for run in records if run.trained]
    kept = [run for run in trained if run.status == "COMPLETED" or question.query.status is not None]
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
