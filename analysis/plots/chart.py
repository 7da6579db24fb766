"""Panels of lines against epochs, drawn with Pillow (see `analysis/drawing.py`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, hypot, isfinite, log10
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from debiaslab.analysis.drawing import DPI, PIXELS_PER_POINT, font, save_png
from debiaslab.core.console import one_line

SMOOTH = 2  # lines are drawn so many times larger
LINE_WIDTH, DASH, DOT = 1.2, (4.4, 1.9), 5.0  # points: of lines, of a dash and the space after it, of a marker
GRID, FRAME, BLACK = "#d9d9d9", "#000000", "#000000"
LEFT, RIGHT, TOP, BOTTOM = 0.6, 0.15, 0.35, 0.5  # inches around the axes of a panel, without the legend
LEGEND_LINE, LEGEND_SAMPLE, LEGEND_GAP = 0.17, 0.28, 0.2  # inches
TITLE_LINE = 0.2  # inches
TICK, LABEL, PANEL_TITLE, LEGEND, TITLE = 8, 9, 10, 7, 10  # points
MAX_TICKS = 8
NICE_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Line:
    """`points` are (epoch, value); a single one is drawn as a dot, values that cannot be shown are left out."""

    label: str
    points: Sequence[tuple[int, float]]
    color: str
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """`limits` of the values; None: as the lines need them. `log`: a logarithmic axis, for positive values."""

    title: str
    lines: Sequence[Line]
    ylabel: str = ""
    limits: tuple[float, float] | None = None
    log: bool = False

    def values(self) -> list[float]:
        """What is shown: finite values, positive ones on a logarithmic axis."""
        values = (value for line in self.lines for _, value in line.points)
        return [value for value in values if isfinite(value) and (value > 0 or not self.log)]


@dataclass(frozen=True)
class Axis:
    """From values, between `low` and `high`, to pixels, between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    ticks: Sequence[float] = field(default=())

    def __call__(self, value: float) -> float:
        low, high, value = (log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def save_panels(path: Path, rows: Sequence[Sequence[Panel]], title: str, width: float, height: float) -> None:
    """Draw the panels, each of `width` x `height` inches, under a title of one or several lines, as a PNG file."""
    lines = title.split("\n")
    top = TITLE_LINE * (len(lines) + 0.5)
    columns = max(map(len, rows))
    picture = Image.new("RGB", (_pixels(columns * width), _pixels(top + len(rows) * height)), "white")
    draw = ImageDraw.Draw(picture)
    for place, line in enumerate(lines):
        _text(draw, picture.width / 2, _pixels(TITLE_LINE * (place + 0.7)), line, "mm", TITLE)
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            corner = _pixels(column * width), _pixels(top + row * height)
            _draw_panel(picture, draw, panel, corner, _pixels(width), _pixels(height))
    save_png(picture, path)


def _draw_panel(picture: Any, draw: Any, panel: Panel, corner: tuple[int, int], width: int, height: int) -> None:
    entries = _legend_lines(panel, width)
    left, right = corner[0] + _pixels(LEFT), corner[0] + width - _pixels(RIGHT)
    top = corner[1] + _pixels(TOP)
    bottom = corner[1] + height - _pixels(BOTTOM + LEGEND_LINE * len(entries))
    x, y = _epochs(panel, left, right), _values(panel, bottom, top)
    for tick in x.ticks:
        draw.line([(x(tick), top), (x(tick), bottom)], GRID, 1)
        _text(draw, x(tick), bottom + _pixels(0.04), f"{tick:g}", "ma", TICK)
    for tick in y.ticks:
        draw.line([(left, y(tick)), (right, y(tick))], GRID, 1)
        _text(draw, left - _pixels(0.04), y(tick), f"{tick:g}", "rm", TICK)
    _draw_lines(picture, panel, x, y)
    draw.rectangle([left, top, right, bottom], outline=FRAME)
    middle = (left + right) / 2
    _text(draw, middle, top - _pixels(0.06), panel.title, "ms", PANEL_TITLE)
    _text(draw, middle, bottom + _pixels(0.2), "epoch", "ma", LABEL)
    _draw_sideways(picture, corner[0], (top + bottom) // 2, panel.ylabel)
    for place, entry in enumerate(entries):
        _draw_legend(draw, entry, middle, bottom + _pixels(BOTTOM - 0.06 + LEGEND_LINE * place))


def _epochs(panel: Panel, start: float, end: float) -> Axis:
    epochs = [epoch for line in panel.lines for epoch, _ in line.points] or [0]
    low, high = min(epochs), max(epochs)
    margin = 0.03 * (high - low) or 0.5
    return Axis(low - margin, high + margin, start, end, ticks=_ticks(low, high, whole=True))


def _values(panel: Panel, start: float, end: float) -> Axis:
    values = panel.values() or [1.0]
    low, high = panel.limits or (min(values), max(values))
    if panel.log:
        low, high = low / 1.1, high * 1.1
        decades = range(floor(log10(low)), ceil(log10(high)) + 1)
        steps = (1,) if log10(high / low) > 2 else NICE_STEPS[:3]
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        shown = [tick for tick in ticks if low <= tick <= high]
        return Axis(low, high, start, end, True, shown or _ticks(low, high))
    margin = 0.0 if panel.limits else 0.05 * (high - low) or 0.5
    return Axis(low - margin, high + margin, start, end, ticks=_ticks(low, high))


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, from `low` to `high`; `whole` numbers."""
    least = max((high - low) / MAX_TICKS, 1 if whole else 1e-300)
    power = 10.0 ** floor(log10(least))
    step = next(power * nice for nice in NICE_STEPS if power * nice >= least * (1 - 1e-9))
    return [step * count for count in range(ceil(low / step), floor(high / step) + 1)]


def _draw_lines(picture: Any, panel: Panel, x: Axis, y: Axis) -> None:
    """The lines, within the axes, smoothed."""
    left, top, right, bottom = (round(value) for value in (x.start, y.end, x.end, y.start))
    area = picture.crop((left, top, right, bottom))
    area = area.resize((SMOOTH * area.width, SMOOTH * area.height), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(area)
    for line in panel.lines:
        for part in _shown_parts(line, panel):
            pixels = [(SMOOTH * (x(epoch) - left), SMOOTH * (y(value) - top)) for epoch, value in part]
            _draw_line(draw, pixels, line, dots=len(line.points) == 1)
    picture.paste(area.reduce(SMOOTH), (left, top))


def _shown_parts(line: Line, panel: Panel) -> Iterator[list[tuple[int, float]]]:
    """The points of a line, without those that cannot be shown, between which it is broken."""
    part: list[tuple[int, float]] = []
    for point in line.points:
        if isfinite(point[1]) and (point[1] > 0 or not panel.log):
            part.append(point)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _draw_line(draw: Any, pixels: Sequence[tuple[float, float]], line: Line, dots: bool, scale: float = SMOOTH) -> None:
    width = round(scale * LINE_WIDTH * PIXELS_PER_POINT)
    if dots:
        draw.circle(pixels[0], scale * DOT * PIXELS_PER_POINT / 2, line.color)
    elif line.dashed:
        for dash in _dashes(pixels, *(scale * length * PIXELS_PER_POINT for length in DASH)):
            draw.line(dash, line.color, width, joint="curve")
    else:
        draw.line(pixels, line.color, width, joint="curve")


def _dashes(pixels: Sequence[tuple[float, float]], length: float, space: float) -> Iterator[list[tuple[float, float]]]:
    """The dashes of a line through `pixels`."""
    dash, is_dash, left = [pixels[0]], True, length
    for (x, y), (end_x, end_y) in pairwise(pixels):
        rest = hypot(end_x - x, end_y - y)
        while rest > left:
            x, y = x + (end_x - x) * left / rest, y + (end_y - y) * left / rest
            rest -= left
            if is_dash:
                yield [*dash, (x, y)]
            dash, is_dash, left = [(x, y)], not is_dash, space if is_dash else length
        left -= rest
        dash.append((end_x, end_y))
    if is_dash and len(dash) > 1:
        yield dash


def _legend_lines(panel: Panel, width: int) -> list[list[Line]]:
    """The lines of the legend, each of as many labels as fit into the width."""
    found: list[list[Line]] = []
    used = 0.0
    for line in panel.lines:
        wide = _legend_width(line)
        if not found or used + wide > width:
            found.append([])
            used = 0.0
        found[-1].append(line)
        used += wide
    return found


def _legend_width(line: Line) -> float:
    text: float = font(LEGEND).getlength(one_line(line.label))
    return text + _pixels(LEGEND_SAMPLE + LEGEND_GAP)


def _draw_legend(draw: Any, entry: Sequence[Line], middle: float, top: float) -> None:
    x, y = middle - sum(map(_legend_width, entry)) / 2, top + _pixels(LEGEND_LINE) / 2
    for line in entry:
        end = x + _pixels(LEGEND_SAMPLE)
        dots = len(line.points) == 1
        _draw_line(draw, [((x + end) / 2, y)] if dots else [(x, y), (end, y)], line, dots, scale=1)
        _text(draw, end + _pixels(0.06), y, line.label, "lm", LEGEND)
        x += _legend_width(line)


def _draw_sideways(picture: Any, left: int, middle: int, text: str) -> None:
    """Text from bottom to top."""
    if not text:
        return
    wide, high = ceil(font(LABEL).getlength(one_line(text))) + 2, _pixels(0.2)
    label = Image.new("RGB", (wide, high), "white")
    _text(ImageDraw.Draw(label), wide / 2, high / 2, text, "mm", LABEL)
    picture.paste(label.rotate(90, expand=True), (left + _pixels(0.02), middle - wide // 2))


def _text(draw: Any, x: float, y: float, text: str, anchor: str, points: float) -> None:
    draw.text((x, y), one_line(text), BLACK, font(points), anchor)


def _pixels(inches: float) -> int:
    return round(inches * DPI)
