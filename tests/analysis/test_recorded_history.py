"""What is asked of a recorded run's evaluations, and of records that are damaged or no training."""

from pathlib import Path

import pytest

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.frames import results_frame
from debiaslab.analysis.query import EVERYTHING
from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError
from debiaslab.evaluation.history import History
from debiaslab.evaluation.selection import RULES, parse_rule
from tests.analysis.recorded import write_record
from tests.conftest import Command


def only_record(folder: Path) -> Record:
    (record,) = FileStore(folder).find(EVERYTHING)
    return record


def test_metrics_that_are_computed_once_are_the_same(command: Command, tmp_path: Path) -> None:
    command("with", "digits", "smoke", "method=denetdm")
    recorded = only_record(tmp_path / "runs").history()
    plain = History(**{name: getattr(recorded, name) for name in History.__dataclass_fields__})
    assert type(recorded) is not History
    for evaluation in plain.evaluations:
        assert str(recorded.metrics(evaluation)) == str(plain.metrics(evaluation))
        assert recorded.metrics(evaluation) is recorded.metrics(evaluation)
    for phase in ("separate", "distill"):
        for rule in (parse_rule(name, True, "rule") for name in RULES):
            assert recorded.choose(recorded.of_phase(phase), rule) is plain.choose(plain.of_phase(phase), rule)


def test_evaluated_weights_have_no_other_rule_than_their_own(command: Command, tmp_path: Path) -> None:
    """The one evaluation of such a run is not its last one, nor the best of several."""
    words = ("digits", "smoke", "method=erm", "evaluate_every=1")
    (folder,) = command("with", *words).runs
    command("evaluate", "with", *words, f"checkpoint={folder / 'selected.safetensors'}", "log_dir=evaluated")
    frame = results_frame([only_record(tmp_path / "evaluated")], RULES)
    assert frame["rule"].tolist() == ["best_valid_unbiased"]
    trained = results_frame([only_record(tmp_path / "runs")], ["best_valid_unbiased"])
    assert frame["test/unbiased"].tolist() == trained["test/unbiased"].tolist()


def test_a_record_without_what_every_run_has_is_damaged(tmp_path: Path) -> None:
    run_id = write_record(tmp_path)
    config = tmp_path / run_id / "config.json"
    config.write_text(config.read_text().replace('"protocol"', '"protocoll"'))
    store = FileStore(tmp_path)
    assert store.find(EVERYTHING) == []
    lacks = "config: Object missing required field `protocol` - at `$.data`"
    assert store.problems == [f"the record {tmp_path / run_id} is damaged: {lacks}"]


def test_damaged_evaluations(tmp_path: Path) -> None:
    run_id = write_record(tmp_path)
    (tmp_path / run_id / "evaluations.jsonl").write_text('{"total": {}}\n')
    with pytest.raises(UserError, match=f"the evaluations of the run {run_id} are damaged"):
        only_record(tmp_path).history()
