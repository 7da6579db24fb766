"""Shared by all figures: colours, line styles, sizes, and writing to files."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from debiaslab.core.console import printable
from debiaslab.core.files import atomic_write

# Okabe and Ito's colours, distinct for the colour-blind
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BLACK = "#000000"
# beside the colour, so that print without colours tells them apart
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
HATCHES = ("", "////")

FORMATS = ("png", "pdf", "svg")
WIDTHS = {1: 3.4, 2: 7.0}  # inches: of one and of two columns of a page
CHARACTERS_PER_INCH = 18
LEGEND_CHARACTERS = 12  # as wide as the line and the space beside a label
TITLE_LINES, LEGEND_ROWS = 2, 1  # that a figure's height is chosen for; it grows with more of them
LINE_HEIGHT = 0.14  # inches
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}  # makes files reproducible
STYLE: dict[Any, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 7,
    "legend.handlelength": 2.8,
    "axes.axisbelow": True,
    "figure.titlesize": 8,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "debiaslab",
    "text.parse_math": False,  # a name may have a $ in it
}


@dataclass(frozen=True)
class NamedFigure:
    """A figure and its file name, without the suffix."""

    name: str
    figure: Any


@contextmanager
def print_style() -> Iterator[None]:
    """Use matplotlib settings for print within the block."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def new_figure(
    rows: int, columns: int, width: float, height: float, ratios: Sequence[float] | None = None, **shared: Any
) -> tuple[Any, Any]:
    """(figure, axes [rows, columns]), in inches; `ratios` of the rows' heights; `shared` are `sharex` and `sharey`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here: it takes half a second
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=ratios, **shared)


def save_figure(figure: Any, path: Path, dpi: int = 150) -> None:
    """Write `figure` in the format given by the suffix of `path`; `dpi` is for PNG."""
    kind = path.suffix.removeprefix(".")
    with atomic_write(path) as temporary, warnings.catch_warnings(), print_style():
        warnings.filterwarnings("ignore", message="Glyph")  # a character of a name that the font does not have
        for text in figure.findobj(lambda artist: hasattr(artist, "set_text")):
            text.set_text(printable(text.get_text()))  # XML, as of SVG, cannot have control characters
        if kind == "png":
            _place_axes(figure, dpi)
        figure.savefig(temporary, format=kind, dpi=dpi, metadata=UNDATED.get(kind))


def _place_axes(figure: Any, dpi: int) -> None:
    """Lay the figure out as `savefig` would, which for that would draw all of it once more."""
    figure.set_dpi(dpi)
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine(None)


def set_title(figure: Any, lines: Sequence[str], width: float) -> None:
    """`lines` above the whole figure of so many inches, broken where they are too long for it."""
    text = "\n".join(wrap_text(line, width) for line in lines)
    _grow(figure, text.count("\n") + 1 - TITLE_LINES)
    figure.suptitle(text)


def wrap_text(text: str, width: float) -> str:
    """`text` in lines that fit into so many inches."""
    return "\n".join(textwrap.wrap(text, max(8, int(CHARACTERS_PER_INCH * width))))


def set_legend(figure: Any, handles: Sequence[Any], width: float) -> None:
    """A legend of the labelled `handles` below the whole figure."""
    if not handles:
        return
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), int(CHARACTERS_PER_INCH * width / (longest + LEGEND_CHARACTERS))))
    _grow(figure, ceil(len(handles) / columns) - LEGEND_ROWS)
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, frameon=False)


def _grow(figure: Any, lines: int) -> None:
    """Make the figure higher by so many lines of text, so that what it shows keeps its size."""
    figure.set_figheight(figure.get_figheight() + LINE_HEIGHT * max(0, lines))


def accuracy_axis(axis: Any) -> None:
    """Format the vertical axis in percent, the same in every figure."""
    axis.set_ylim(-2, 102)
    axis.set_yticks(range(0, 101, 25))
    axis.grid(alpha=0.3, linewidth=0.5)
