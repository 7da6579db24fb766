"""The findings as one self-contained HTML page, which loads nothing."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy

from debiaslab.analysis.report.page import ASSETS
from debiaslab.auditing.findings import Findings
from debiaslab.auditing.sheets import Sheet
from debiaslab.auditing.table import AUDIT
from debiaslab.auditing.verdict import THRESHOLD
from debiaslab.core.files import atomic_write

PAGE = "audit.html"
TEMPLATE = Path(__file__).with_name("page.html")
MAX_HISTOGRAMS = 3  # of properties
MAX_SUSPECTS = 50  # rows of the table
SCORE_BINS = 20


def write_page(folder: Path, findings: Findings, sheets: Sequence[Sheet], command: str) -> Path:
    """Write the page into `folder`; `command` is the one to type next. Returns the file."""
    sections = [
        _render_notes(findings),
        _section("Next command", [f"<pre>{escape(command)}</pre>"]),
        _section("Scores of the training images", [_render_scores(findings)]),
        _section("Simple properties associated with the class", _render_properties(findings)),
        *_render_classes(findings, sheets),
        _section("Suspected label errors", [_render_suspects(findings)]),
    ]
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(f"audit of {findings.data.name}"),
        style=(ASSETS / "page.css").read_text(encoding="utf-8"),
        sentence=escape(findings.summary()),
        content="\n".join(sections),
    )
    path = folder / PAGE
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # file names need not be Unicode
    return path


def _render_notes(findings: Findings) -> str:
    lines = [*findings.describe_classes(), *findings.describe_verification(), *findings.data.notes]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _render_scores(findings: Findings) -> str:
    score = findings.scores.score[: findings.images.num_train].numpy()
    counts, edges = numpy.histogram(score, bins=SCORE_BINS, range=(0, 1))
    rows = [
        [f"{low:.2f} to {high:.2f}", f"{count:,}", _bar(count / max(1, counts.max()))]
        for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
    ]
    caption = (
        "0: the networks predict the label throughout the training; 1: they never do."
        f" Images above {THRESHOLD} contradict what the networks have learned."
    )
    return _table(["score", "images", ""], rows, caption)


def _render_properties(findings: Findings) -> Iterable[str]:
    """A table of all properties, and histograms of the first ones."""
    if not findings.properties:
        yield "<p>None is associated with the class beyond chance.</p>"
        return
    rows = [
        [
            escape(each.name),
            f"{each.share_of_entropy:.1%}",
            f"{each.information:.3f}",
            f"{each.by_chance:.3f}",
            f"{each.p_value:.3f}",
            f"{each.accuracy:.1%}",
        ]
        for each in findings.properties
    ]
    header = ["property", "explains of the class", "bits", "bits by chance", "p", "accuracy of predicting the class"]
    yield _table(header, rows, "mutual information with the class, and a permutation test")
    for each in findings.properties[:MAX_HISTOGRAMS]:
        shares = each.counts / each.counts.sum(axis=1, keepdims=True).clip(min=1)
        rows = [
            [escape(name), *(f"{share:.0%}{_bar(share)}" for share in of_class)]
            for name, of_class in zip(findings.images.class_names, shares.tolist(), strict=True)
        ]
        yield _table(["class", *map(escape, each.bins)], rows, f"{each.name}: share of the images of each class")


def _render_classes(findings: Findings, sheets: Sequence[Sheet]) -> Iterable[str]:
    """A section with the contact sheets of each class."""
    by_class: dict[int, list[Sheet]] = {}
    for sheet in sheets:
        by_class.setdefault(sheet.label, []).append(sheet)
    for label, of_class in by_class.items():
        name = findings.images.class_names[label]
        figures = []
        for sheet in of_class:
            source = "data:image/png;base64," + base64.b64encode(sheet.content).decode()
            caption = f"<figcaption>{escape(sheet.title)}</figcaption>"
            alt = escape(f"{name}: {sheet.title}")
            figures.append(f'<figure class="sheet">{caption}<img src="{source}" alt="{alt}"></figure>')
        yield _section(f"Class {name}", figures)


def _render_suspects(findings: Findings) -> str:
    images, scores = findings.images, findings.scores
    suspects = findings.verdict.label_error.nonzero()[:, 0]
    suspects = suspects[scores.score[suspects].argsort(descending=True, stable=True)]
    if not len(suspects):
        return "<p>None.</p>"
    looks_like = scores.most_likely_other(images.target)
    rows = [
        [
            escape(str(images.files[index]) if images.files else f"row {int(images.row[index])}"),
            escape(images.class_names[int(images.target[index])]),
            escape(images.class_names[int(looks_like[index])]),
            f"{float(scores.score[index]):.3f}",
        ]
        for index in suspects[:MAX_SUSPECTS].tolist()
    ]
    more = f" ({len(suspects) - MAX_SUSPECTS:,} more in {AUDIT})" if len(suspects) > MAX_SUSPECTS else ""
    return _table(["image", "label", "looks like", "score"], rows, f"{len(suspects):,} images{more}")


# ---- HTML


def _section(title: str, parts: Iterable[str]) -> str:
    content = "\n".join(parts)
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """`header` and `rows` are HTML, `caption` is text."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _bar(share: float) -> str:
    return f'<span class="share" style="width:{100 * share:.0f}%"></span>'
