"""Short frames as the figures take them."""

from typing import Any

import pandas


def lines(rows: dict[str, int], branches: dict[str, bool], epochs: int = 5) -> pandas.DataFrame:
    """Of methods with so many seeds: branch -> whether it predicts; value = 10 * epoch + seed."""
    points: list[dict[str, Any]] = [
        {"row": row, "seed": seed, "epoch": epoch, "branch": branch, "is_prediction": first}
        | {"panel": panel, "value": 10.0 * epoch + seed}
        for row, seeds in rows.items()
        for seed in range(1, seeds + 1)
        for branch, first in branches.items()
        for panel in ("unbiased (%)", "aligned (%)")
        for epoch in range(1, epochs + 1)
    ]
    return pandas.DataFrame(points)


def texts(figure: Any) -> list[str]:
    """All that is written in a figure beside the ticks."""
    found = [figure.get_suptitle()] + [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axis in figure.axes:
        found += [axis.get_title(), axis.get_xlabel(), axis.get_ylabel(), *(text.get_text() for text in axis.texts)]
    return [text for text in found if text]
