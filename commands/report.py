"""`python main.py report [with WORDS] [--out DIR]`: recorded runs as one offline HTML page.

WORDS select the runs, as for `results`. The page is report.html.

Examples:
  python main.py report --out report
  python main.py report with colored_mnist severity4 against=erm --out report
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debiaslab.analysis.report.embedded_images import LIMIT_BYTES, EmbeddedImages
from debiaslab.analysis.report.page import build_page
from debiaslab.commands.results import DEFAULT_METRIC, read_rule, recorded_rules
from debiaslab.commands.run_query import RunWords, find_records, read_run_query
from debiaslab.commands.words import word, word_names
from debiaslab.core.console import show
from debiaslab.core.errors import require_known
from debiaslab.core.files import atomic_write


@dataclass(frozen=True, kw_only=True)
class ReportWords(RunWords):
    out: str = word("folder for report.html, same as --out", "report")
    rule: str | None = word("rule to show first", read=read_rule)
    metric: str | None = word("metric to show first: test/unbiased")
    against: str | None = word("row that the others are tested against")
    images: bool = word("include images", True)


WORDS = ReportWords


def run(updates: Sequence[str]) -> None:
    """Write the page. Raises `UserError`."""
    asked = read_run_query(updates, ReportWords)
    words = asked.words
    records = find_records(asked.query, asked.log_dir)
    rule = words.rule or recorded_rules(records)[0]
    of_the_page = {*word_names(ReportWords), "log_dir"} - {*word_names(RunWords)}
    about = shlex.join(update for update in updates if update.partition("=")[0] not in of_the_page) or "all runs"
    pictures = EmbeddedImages() if words.images else None
    metric, problems = words.metric or DEFAULT_METRIC, records[0].store.problems
    page = build_page(records, about, rule, metric, pictures, problems, words.against)
    if page.metrics and words.metric is not None:
        require_known("metric", words.metric, page.metrics)
    path = Path(words.out) / "report.html"
    with atomic_write(path) as temporary:
        temporary.write_text(page.html, encoding="utf-8")
    size = path.stat().st_size / 2**20
    show(f"{path}: {page.runs} runs, {page.pictures} pictures, {size:.1f} MiB; open it in a browser")
    if page.pictures_left_out:
        limit = LIMIT_BYTES // 2**20
        show(f"{page.pictures_left_out} pictures left out: they are more than {limit} MiB; ask for fewer runs")
