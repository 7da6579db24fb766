"""Build the page: numbers as JSON, images as data URIs, styles and scripts, in one file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas

from debiaslab.analysis.frames import results_frame
from debiaslab.analysis.png_artifacts import read_png_artifacts
from debiaslab.analysis.records import Record
from debiaslab.analysis.report.embedded_images import EmbeddedImages
from debiaslab.analysis.report.leaderboard import leaderboard
from debiaslab.analysis.report.run_page import run_facts, run_page
from debiaslab.core.errors import UserError
from debiaslab.evaluation.selection import RULES

ASSETS = Path(__file__).with_name("assets")
DRAWN = ("curves.png",)  # the page draws these itself, from the numbers
STYLES = ("page.css", "charts.css")
SCRIPTS = ("dom.js", "chart.js", "heatmap.js", "leaderboard.js", "runs.js", "run.js", "main.js")


@dataclass(frozen=True)
class Page:
    """The HTML of the page, its metrics, the numbers of runs, of images and of images left out, and problems of
    reading."""

    html: str
    metrics: tuple[str, ...]
    runs: int
    pictures: int
    pictures_left_out: int
    problems: tuple[str, ...]


def build_page(
    records: Sequence[Record],
    about: str,
    rule: str,
    metric: str,
    pictures: EmbeddedImages | None,
    problems: Sequence[str],
    against: str | None = None,
) -> Page:
    """Build the page of `records`; `about` describes the selection of runs, `rule` and `metric` are shown first.

    `pictures` None: without images. `problems` are those of damaged records, which are not in `records`. The other rows
    are tested against the row `against`. Raises `UserError` if there is no such row.
    """
    problems, frames, details = list(problems), [], []
    for record in records:
        page, found = run_page(record)
        problems += found
        frames.append(_results(record))
        page["pictures"] = []
        if pictures is not None:
            recorded, found = read_png_artifacts(record, without=DRAWN)
            page["pictures"] = pictures.add(recorded)
            problems += found
        details.append(page)
    filled = [frame for frame in frames if not frame.empty]
    frame = pandas.concat(filled, ignore_index=True) if filled else pandas.DataFrame()
    left_out = 0 if pictures is None else len(pictures.refused)
    board = leaderboard(records, frame, against)
    overview = {
        "about": about,
        "first": {"rule": rule, "metric": metric},
        "leaderboard": board,
        "runs": [run_facts(record) for record in records],
        "problems": problems,
        "pictures_left_out": left_out,
    }
    contents: dict[str, str] = {} if pictures is None else pictures.contents
    html = _fill_template(overview, details, contents)
    return Page(
        html, tuple(item["name"] for item in board["metrics"]), len(records), len(contents), left_out, tuple(problems)
    )


def _results(record: Record) -> pandas.DataFrame:
    """The `results_frame` of one run under all rules or, if its evaluations cannot be read, the recorded ones."""
    try:
        return results_frame([record], RULES)
    except UserError:
        return results_frame([record])


def _fill_template(overview: Any, details: Sequence[Any], pictures: Any) -> str:
    blocks = [_json_block("overview", overview), _json_block("pictures", pictures)]
    blocks += [_json_block(f"run-{position}", page) for position, page in enumerate(details)]
    parts = {
        "<!-- styles -->": "<style>\n" + _assets(STYLES) + "</style>",
        "<!-- data -->": "\n".join(blocks),
        "<!-- scripts -->": '<script>\n"use strict";\n' + _assets(SCRIPTS) + "</script>",
    }
    html = (ASSETS / "page.html").read_text()
    for place, content in parts.items():
        html = html.replace(place, content)
    return html


def _assets(names: Sequence[str]) -> str:
    return "\n".join((ASSETS / name).read_text() for name in names)


def _json_block(name: str, value: Any) -> str:
    """A block of JSON that no text inside can terminate: "<", ">" and "&" are escaped."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'
