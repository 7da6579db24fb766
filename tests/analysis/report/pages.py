"""Pages of recorded runs, and the data that is in them."""

import json
import re
from pathlib import Path
from typing import Any

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING
from debiaslab.analysis.records import Store
from debiaslab.analysis.report.embedded_images import EmbeddedImages
from debiaslab.analysis.report.page import Page, build_page


def page_of(
    store: Store,
    pictures: EmbeddedImages | None = None,
    metric: str = "test/unbiased",
    against: str | None = None,
) -> Page:
    """The page of all runs in `store`."""
    records = store.find(EVERYTHING)
    return build_page(records, "all runs", "last", metric, pictures, store.problems, against)


def write_page(runs: Path, folder: Path) -> str:
    """Write the page of the runs in the folder `runs`, and return its address."""
    path = folder / "report.html"
    path.write_text(page_of(FileStore(runs)).html, encoding="utf-8")
    return path.as_uri()


def blocks(html: str) -> dict[str, Any]:
    """The JSON blocks of a page, by name."""
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', html)
    return {name: json.loads(text) for name, text in found}
