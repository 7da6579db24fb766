"""The page: everything in one file, which loads nothing."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy

from debiaslab.analysis.report.page import ASSETS
from debiaslab.auditing.findings import Findings
from debiaslab.auditing.properties import Property
from debiaslab.auditing.sheets import Sheet
from debiaslab.auditing.verdict import CONTRADICTS
from debiaslab.core.files import atomic_write

PAGE = "audit.html"
TEMPLATE = Path(__file__).with_name("page.html")
PROPERTIES = 3  # that have a histogram
SUSPECTS = 50  # in the table
SCORE_BINS = 20


def write_page(folder: Path, found: Findings, sheets: Sequence[Sheet], command: str) -> Path:
    """Write the page; `command` is what to type next."""
    title = f"audit of {found.data.name}"
    parts = [
        _notes(found),
        _section("What to type next", [f"<pre>{escape(command)}</pre>"]),
        _section("Scores of the training images", [_scores(found)]),
        _section("Simple properties that tell the class", _properties(found.properties, found.images.class_names)),
        *_classes(found, sheets),
        _section("Labels that may be wrong", [_suspects(found)]),
    ]
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title), style=style, sentence=escape(found.sentence()), content="\n".join(parts)
    )
    path = folder / PAGE
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _notes(found: Findings) -> str:
    lines = [*found.looks(), *found.verified(), *found.data.notes]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _scores(found: Findings) -> str:
    score = found.scores.score[: found.images.num_train].numpy()
    counts, edges = numpy.histogram(score, bins=SCORE_BINS, range=(0, 1))
    rows = [
        [f"{low:.2f} to {high:.2f}", f"{count:,}", _bar(count / max(1, counts.max()))]
        for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
    ]
    caption = (
        "0: the class was seen, by both networks, from the first epoch to the last; 1: never."
        f" Images above {CONTRADICTS} contradict what the networks have learned."
    )
    return _table(["score", "images", ""], rows, caption)


def _properties(properties: Sequence[Property], class_names: Sequence[str]) -> Iterable[str]:
    if not properties:
        yield "<p>None is related to the class more than chance explains.</p>"
        return
    rows = [
        [
            escape(found.name),
            f"{found.share_of_entropy:.1%}",
            f"{found.information:.3f}",
            f"{found.by_chance:.3f}",
            f"{found.p_value:.3f}",
            f"{found.right_guesses:.1%}",
        ]
        for found in properties
    ]
    header = ["property", "explains of the class", "bits", "bits by chance", "p", "labels guessed from it alone"]
    yield _table(header, rows, "mutual information with the class, and a permutation test; file names are no pixels")
    for found in properties[:PROPERTIES]:
        shares = found.counts / found.counts.sum(axis=1, keepdims=True).clip(min=1)
        rows = [
            [escape(name), *(f"{share:.0%}{_bar(share)}" for share in of_class)]
            for name, of_class in zip(class_names, shares.tolist(), strict=True)
        ]
        yield _table(["class", *map(escape, found.bins)], rows, f"{found.name}: share of each class's images")


def _classes(found: Findings, sheets: Sequence[Sheet]) -> Iterable[str]:
    by_class: dict[int, list[Sheet]] = {}
    for sheet in sheets:
        by_class.setdefault(sheet.label, []).append(sheet)
    for label, of_class in by_class.items():
        figures = []
        for sheet in of_class:
            source = "data:image/png;base64," + base64.b64encode(sheet.content).decode()
            caption = f"<figcaption>{escape(sheet.title)}</figcaption>"
            alt = escape(f"{found.images.class_names[label]}: {sheet.title}")
            figures.append(f'<figure class="sheet">{caption}<img src="{source}" alt="{alt}"></figure>')
        yield _section(f"Class {found.images.class_names[label]}", figures)


def _suspects(found: Findings) -> str:
    suspects = found.verdict.label_error.nonzero()[:, 0]
    suspects = suspects[found.scores.score[suspects].argsort(descending=True, stable=True)]
    if not len(suspects):
        return "<p>None.</p>"
    names, images = found.images.class_names, found.images
    seen = found.scores.probability.scatter(1, images.target[:, None], -1.0).argmax(dim=1)
    rows = [
        [
            escape(str(images.files[place]) if images.files else f"row {int(images.row[place])}"),
            escape(names[int(images.target[place])]),
            escape(names[int(seen[place])]),
            f"{float(found.scores.score[place]):.3f}",
        ]
        for place in suspects[:SUSPECTS].tolist()
    ]
    more = f" ({len(suspects) - SUSPECTS:,} more in audit.csv)" if len(suspects) > SUSPECTS else ""
    return _table(["image", "label", "looks like", "score"], rows, f"{len(suspects):,} images{more}")


# ---- parts


def _section(title: str, parts: Iterable[str]) -> str:
    content = "\n".join(parts)
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _bar(share: float) -> str:
    return f'<span class="share" style="width:{100 * share:.0f}%"></span>'
