"""`python main.py report [with WORDS] [--out DIR]`: recorded runs as one page, which needs no network.

WORDS choose the runs, as for `results`. out=DIR (or --out DIR) is where report.html is written, `report` unless said;
rule=NAME and metric=NAME are shown first; images=False leaves the pictures out.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from debiaslab.analysis.report.embedded_images import LIMIT_BYTES, EmbeddedImages
from debiaslab.analysis.report.page import build_page
from debiaslab.commands.question import found_records, read_question, yes_or_no
from debiaslab.commands.results import DEFAULT_METRIC, recorded_rules
from debiaslab.core.console import show
from debiaslab.core.errors import require_known
from debiaslab.core.files import atomic_write
from debiaslab.evaluation.selection import parse_rule

WORDS = ("out", "rule", "metric", "images")


def answer(updates: Sequence[str]) -> None:
    """Write the page. Raises `UserError`."""
    question = read_question(updates, WORDS)
    words = question.words
    pictures = EmbeddedImages() if yes_or_no("images", words.get("images", "True")) else None
    if "rule" in words:
        parse_rule(words["rule"], True, "rule")
    records = found_records(question)
    rule = words.get("rule", recorded_rules(records)[0])
    chosen = [update for update in updates if update.partition("=")[0] not in (*WORDS, "log_dir")]
    about = shlex.join(chosen) or "all runs"
    page = build_page(records, about, rule, words.get("metric", DEFAULT_METRIC), pictures, records[0].store.problems)
    if page.metrics and "metric" in words:
        require_known("metric", words["metric"], page.metrics)
    path = Path(words.get("out", "report")) / "report.html"
    with atomic_write(path) as temporary:
        temporary.write_text(page.html, encoding="utf-8")
    size = path.stat().st_size / 2**20
    show(f"{path}: {page.runs} runs, {page.pictures} pictures, {size:.1f} MiB; open it in a browser")
    if page.pictures_left_out:
        limit = LIMIT_BYTES // 2**20
        show(f"{page.pictures_left_out} pictures left out: they are more than {limit} MiB; ask for fewer runs")
