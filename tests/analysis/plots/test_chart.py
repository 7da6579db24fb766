"""Panels drawn with Pillow: what is where in the picture."""

from collections.abc import Sequence
from math import nan
from pathlib import Path

import numpy
import pytest
from PIL import Image

from debiaslab.analysis.drawing import DPI
from debiaslab.analysis.plots.chart import BOTTOM, LEFT, LEGEND_LINE, RIGHT, TITLE_LINE, TOP, Line, Panel, save_panels

RED, BLUE = "#ff0000", "#0000ff"
WIDTH, HEIGHT = 4.0, 3.0  # inches


def picture(tmp_path: Path, *rows: Sequence[Panel], title: str = "title") -> numpy.ndarray:
    save_panels(tmp_path / "chart.png", rows, title, WIDTH, HEIGHT)
    with Image.open(tmp_path / "chart.png") as image:
        return numpy.asarray(image.convert("RGB")).astype(int)


def axes(pixels: numpy.ndarray) -> numpy.ndarray:
    """What is within the frame of the first panel, with one line of a title and of a legend."""
    top = round(DPI * (1.5 * TITLE_LINE + TOP))
    bottom = round(DPI * (1.5 * TITLE_LINE + HEIGHT - BOTTOM - LEGEND_LINE))
    return pixels[top + 2 : bottom - 2, round(DPI * LEFT) + 2 : round(DPI * (WIDTH - RIGHT)) - 2]


def places(pixels: numpy.ndarray, color: str) -> numpy.ndarray:
    """(row, column) of pixels of about this colour, as fractions of height and width, [N, 2]."""
    wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    found = numpy.argwhere(numpy.abs(pixels - wanted).sum(-1) < 60)
    return found / pixels.shape[:2]


def test_a_line_is_where_its_values_are(tmp_path: Path) -> None:
    lines = [Line("up", [(1, 0), (5, 100)], RED), Line("flat", [(1, 25), (5, 25)], BLUE, dashed=True)]
    pixels = axes(picture(tmp_path, [Panel("panel", lines, "percent", (0, 100))]))
    red, blue = places(pixels, RED), places(pixels, BLUE)
    assert numpy.abs(blue[:, 0] - 0.75).max() < 0.02
    left, right = red[red[:, 1].argmin()], red[red[:, 1].argmax()]
    assert left == pytest.approx([1, 0.03], abs=0.03)
    assert right == pytest.approx([0, 0.97], abs=0.03)
    assert 0.5 < len(set(blue[:, 1])) / len(set(red[:, 1])) < 0.85  # dashes and spaces


def test_values_that_cannot_be_shown_break_a_line(tmp_path: Path) -> None:
    lines = [Line("loss", [(1, 1.0), (2, 1.0), (3, nan), (4, 0.0), (5, 100.0), (6, 100.0)], RED)]
    red = places(axes(picture(tmp_path, [Panel("panel", lines, log=True)])), RED)
    assert set(numpy.round(red[:, 0])) == {0, 1}
    assert not ((red[:, 1] > 0.3) & (red[:, 1] < 0.7)).any()


def test_one_point_is_a_dot_and_no_point_an_empty_panel(tmp_path: Path) -> None:
    dot, empty = Panel("one", [Line("one", [(3, 7.5)], RED)], log=True), Panel("none", [], log=True)
    pixels = picture(tmp_path, [dot, empty], title="two\nlines \x1b")
    assert pixels.shape[1] == 2 * WIDTH * DPI
    red = places(axes(picture(tmp_path, [dot])), RED)
    assert red.mean(0) == pytest.approx([0.5, 0.5], abs=0.02)
    assert len(picture(tmp_path, [dot], [empty])) > len(picture(tmp_path, [dot]))
