from typing import Any

import pytest

from debiaslab.analysis.result import accuracy_tables, result_of, why_unknown
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.evaluation.selection import parse_rule

USUAL = [[True, False], [False, True]]


def result(total: list[list[int]], aligned: list[list[bool]]) -> dict[str, dict[str, Any]]:
    history = History([Evaluation("train", 1, 1, 1, {}, {"test": {"f": total}})], {"test": total}, aligned)
    return result_of(history, "train", parse_rule("oracle_test_accuracy", False, "selection"))


@pytest.mark.parametrize(
    ("total", "aligned", "reason"),
    [
        ([[4, 4], [4, 4]], USUAL, None),
        ([[4], [4]], USUAL, "unbiased, aligned, conflicting, worst group: not known, as the test images have"),
        ([[4, 4], [4, 4]], [[False] * 2] * 2, "aligned, conflicting: not known, as no pair of target and bias is"),
        ([[0, 4], [4, 0]], USUAL, "aligned: no such test image"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said(total: list[list[int]], aligned: list[list[bool]], reason: str | None) -> None:
    found = result(total, aligned)
    told = why_unknown(found["last"], "test")
    assert (told is None) if reason is None else (told or "").startswith(reason)
    captions = [table.caption for table in accuracy_tables(found, {})]
    assert captions == [None, told]
