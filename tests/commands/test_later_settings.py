"""Records made before there were settings such as `precision`: the defaults are what was the case."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import optuna
import pymongo
import pytest

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.frames import settings_that_differ
from debiaslab.analysis.mongo_store import MongoStore
from debiaslab.analysis.query import Query
from debiaslab.analysis.records import Record, Store
from debiaslab.commands.searches.database import FACTS, find_existing, open_storage
from debiaslab.commands.searches.plan import make_plan
from debiaslab.commands.searches.words import read_search
from debiaslab.commands.studies.jobs import jobs_of, settings_of
from debiaslab.commands.studies.words import read_study
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.recording.configuration import configuration
from debiaslab.settings.declared import earlier_values
from debiaslab.settings.setup import check
from debiaslab.training.checkpoint import require_same_identity
from tests.conftest import Command

LATER_SETTINGS = earlier_values(configuration(ex, ["digits", "method=erm"]))
NEW = [*LATER_SETTINGS, "cuda_graphs", "ranks"]
SMOKE = ("with", "smoke", "method=erm", "model.hparams.widths=[4]")


def made_old(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in config.items() if name not in NEW}))
    os.utime(folder / "run.json")  # the index of the records looks at its time only


def ids(records: Sequence[Record]) -> list[str]:
    return [record.id for record in records]


def assert_answers(store: Store, old: str, new: str, bf16: str) -> None:
    found = store.find(Query({"precision": "float32"}))
    assert ids(found) == [old, new]
    assert settings_that_differ(found) == []
    assert found[0].config["channels_last"] is False
    assert ids(store.find(Query({"precision": "float32", "channels_last": False}))) == [old, new]
    assert ids(store.find(Query({"channels_last": False}))) == [old, new, bf16]
    assert ids(store.find(Query({"precision": "bf16"}))) == [bf16]
    assert settings_that_differ(store.find(Query({}))) == ["precision"]
    assert store.find(Query({"channels_last": True})) == []


def test_questions(command: Command, tmp_path: Path, port: int) -> None:
    words = ("-m", f"localhost:{port}:later", *SMOKE)
    old, new, bf16 = (command(*words, *more).runs[0] for more in ((), (), ("precision=bf16",)))
    made_old(old)
    with pymongo.MongoClient[dict[str, object]]("localhost", port) as client:
        client["later"]["runs"].update_one({"_id": old.name}, {"$unset": {f"config.{name}": "" for name in NEW}})
    for store in (FileStore(tmp_path / "runs"), MongoStore(f"localhost:{port}:later")):
        assert_answers(store, old.name, new.name, bf16.name)
    listed = command("results", "with", "precision=float32", "list=True", data=False).out
    assert old.name in listed
    assert bf16.name not in listed
    table = command("results", data=False).out
    assert "erm (precision float32)" in table
    assert "erm (precision bf16)" in table


def test_a_question_about_old_records_alone(command: Command) -> None:
    (old,) = command(*SMOKE).runs
    made_old(old)
    assert command("results", "with", "precision=float32", data=False).code == 0
    outcome = command("results", "with", "precision=bf16", data=False)
    assert outcome.code == 2
    assert outcome.err.startswith("error: no recorded run matches")


def test_repetition(command: Command) -> None:
    (old,) = command(*SMOKE).runs
    made_old(old)
    outcome = command("rerun", old.name, data=False)
    assert outcome.code == 0
    assert "bit-identical" in outcome.out
    assert "precision" not in outcome.out
    assert "a rerun cannot change precision" in command("rerun", old.name, "with", "precision=bf16").err


def test_a_study_takes_an_old_record_for_its_own(command: Command, tmp_path: Path) -> None:
    (old,) = command(*SMOKE).runs
    made_old(old)
    (record,) = FileStore(tmp_path / "runs").find(Query({}))
    (job,) = jobs_of(read_study(["digits", "smoke", "method=erm", "seed=1", "model.hparams.widths=[4]"]))
    recorded, wanted = settings_of(record.config), job.settings
    assert {name: recorded.get(name) for name in LATER_SETTINGS} == {name: wanted.get(name) for name in LATER_SETTINGS}
    assert recorded.keys() == wanted.keys()
    assert LATER_SETTINGS.keys() - wanted.keys() == {"start_from", "tuned"}  # None: neither applies


def test_a_search_keeps_its_name() -> None:
    facts = [
        make_plan(read_search(["digits", "smoke", "method=end", *more])).facts for more in ([], ["precision=bf16"])
    ]
    assert [facts[number].get("precision") for number in (0, 1)] == [None, "bf16"]
    assert not facts[0].keys() & LATER_SETTINGS.keys()


def test_an_older_search_is_joined_by_the_same_words(tmp_path: Path) -> None:
    """Its name was made of the settings of all data sets."""
    storage = str(tmp_path / "searches.db")
    words = ["digits", "smoke", "method=end", f"storage={storage}"]
    plan = make_plan(read_search(words))
    assert find_existing(plan) is None
    for name, facts in (("end-digits-01234567", {"data.frames": None}), ("end-digits-89abcdef", {"data.skew": 0.5})):
        study = optuna.create_study(study_name=name, storage=open_storage(storage))
        study.set_user_attr(FACTS, plan.facts | {"data.percent": None} | facts)
    assert find_existing(plan) == "end-digits-01234567"
    assert find_existing(make_plan(read_search([*words, "data.severity=1"]))) is None


def test_an_old_state_is_gone_on_with(tmp_path: Path) -> None:
    identity = {"seed": 1, **LATER_SETTINGS}
    require_same_identity(tmp_path, {**LATER_SETTINGS, "seed": 1}, identity)
    with pytest.raises(UserError, match="is of a run with precision='float32', not 'bf16'"):
        require_same_identity(tmp_path, {**LATER_SETTINGS, "seed": 1}, {**identity, "precision": "bf16"})


def test_only_settings_that_change_a_result_are_part_of_its_identity(data_root: Path, digits: BiasedDataset) -> None:
    def identity(*words: str) -> dict[str, object]:
        common = ["digits", "method=rebias", f"data.root={data_root}"]
        return check(configuration(ex, [*common, *words])).identity(digits)

    for words in (("precision=bf16",), ("channels_last=True",)):
        with pytest.raises(UserError, match=words[0].partition("=")[0]):
            require_same_identity(Path("x"), identity(), identity(*words))
    assert identity("cuda_graphs=True") == identity()


# ---- the settings on the command line


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("precision=bf61",), "unknown precision 'bf61'; did you mean 'bf16'? one of bf16, float32"),
        (("precision=16",), "precision=16: must be of type str"),
        (("channels_last=True",), "channels_last=True: model MLP has no convolutions of images; leave it out"),
        (("cuda_graphs=True", "device=cpu"), "cuda_graphs=True: the device is cpu, without CUDA; set it to False"),
        (("cuda_graphs=1",), "cuda_graphs=1: must be of type bool"),
    ],
)
def test_bad_settings(command: Command, words: tuple[str, ...], error: str) -> None:
    outcome = command(*SMOKE, *words)
    assert (outcome.code, outcome.runs) == (2, [])
    assert outcome.err.startswith(f"error: {error}"), outcome.err
    assert outcome.err.count("\n") == 1


def test_weights_are_evaluated_wherever_they_were_trained(command: Command) -> None:
    """Settings of a training with a GPU are no obstacle."""
    (folder,) = command(*SMOKE).runs
    outcome = command("evaluate", *SMOKE, "cuda_graphs=True", "device=cpu", f"checkpoint={folder}")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_study_that_cannot_use_graphs_does_not_begin(command: Command) -> None:
    outcome = command("study", *SMOKE, "seeds=1", "cuda_graphs=True", "device=cpu")
    assert (outcome.code, outcome.runs) == (2, [])
    assert "cuda_graphs=True: the device is cpu, without CUDA" in outcome.err


def test_a_run_in_bf16_and_its_evaluation(command: Command) -> None:
    words = ("smoke", "method=erm", "precision=bf16")
    trained = command("with", *words)
    assert (trained.code, trained.err) == (0, "")
    assert trained.record("config.json")["precision"] == "bf16"
    (folder,) = trained.runs
    last = json.loads((folder / "run.json").read_text())["result"]["last"]
    evaluated = command("evaluate", "with", *words, f"checkpoint={folder}")
    assert evaluated.record("run.json")["result"]["last"]["test/unbiased"] == last["test/unbiased"]
