"""`main.py rerun`: what it says of a repetition, from files and from a real MongoDB."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from debiaslab.commands import general_help, rerun
from tests.analysis.recorded import write_record
from tests.conftest import Command

SMOKE = ("with", "smoke", "method=erm")


def change(path: Path, **entries: Any) -> None:
    """Set top-level entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def add_to_counts(folder: Path, images: int) -> None:
    """Move one count of the last recorded evaluation."""
    path = folder / "evaluations.jsonl"
    *lines, last = path.read_text().splitlines()
    evaluation = json.loads(last)
    next(iter(evaluation["correct"]["test"].values()))[0][0] += images
    evaluation.pop("outcomes", None)  # as of an older run: they would contradict the changed counts
    path.write_text("\n".join([*lines, json.dumps(evaluation)]) + "\n")


@pytest.mark.parametrize(
    ("method", "files"), [("denetdm", ("last", "selected")), ("disent_be", ("last", "samples", "selected"))]
)
def test_the_same_result(command: Command, method: str, files: tuple[str, ...]) -> None:
    (folder,) = command("with", "smoke", f"method={method}", "seed=3", "data.skew=0.05").runs
    outcome = command("rerun", folder.name, data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"repeating {folder.name}: {method} on digits, skew 0.05")
    for line in (
        "code: the same as recorded",
        "data: the same as recorded",
        "environment: the same as recorded",
    ):
        assert f"\n{line}\n" in outcome.out
    assert "\nbit-identical: all counts of " in outcome.out
    compared = " and ".join(f"{name}.safetensors" for name in files)
    assert f"all bits of {compared}\n" in outcome.out
    assert outcome.record("info.json")["repeats"] == folder.name
    assert outcome.record("config.json") == json.loads((folder / "config.json").read_text())
    assert outcome.record("run.json")["command"] == "train"


def test_from_a_folder_with_other_places(command: Command, tmp_path: Path, data_root: Path) -> None:
    (folder,) = command(*SMOKE, "log_dir=there").runs
    shutil.move(folder, tmp_path / "elsewhere")
    words = ("device=cpu", "workers=0", f"data.root={data_root}", "log_dir=new")
    outcome = command("rerun", "elsewhere", "with", *words, data=False)
    assert outcome.code == 0
    assert "its files cannot be compared: cannot read" in outcome.out  # the copies of the code have stayed behind
    assert "bit-identical" in outcome.out
    (new,) = outcome.runs
    assert new.parent.name == "new"
    config = outcome.record("config.json")
    assert (config["device"], config["workers"], config["log_dir"]) == ("cpu", 0, "new")


def test_an_evaluation_of_weights(command: Command) -> None:
    (trained,) = command(*SMOKE).runs
    (evaluated,) = command("evaluate", *SMOKE, f"checkpoint=runs/{trained.name}").runs
    outcome = command("rerun", evaluated.name, data=False)
    assert outcome.code == 0
    assert "bit-identical: all counts of 1 evaluation, no weights" in outcome.out
    assert outcome.record("run.json")["command"] == "evaluate"


def test_another_result(command: Command) -> None:
    """The record claims another seed than the one that it was made with."""
    (folder,) = command(*SMOKE, "seed=1").runs
    change(folder / "config.json", seed=2)
    outcome = command("rerun", folder.name, data=False)
    assert outcome.code == 1
    assert "\ndifferent: beyond the tolerance of 0.5 % of the images of a split\n" in outcome.out
    assert "largest difference of the counts of 1 evaluation: " in outcome.out
    assert "last.safetensors: differs by up to " in outcome.out


def test_almost_the_same_result(command: Command) -> None:
    (folder,) = command(*SMOKE).runs
    add_to_counts(folder, 1)  # of 397 images
    outcome = command("rerun", folder.name, data=False)
    assert outcome.code == 0
    assert "\nequal within the tolerance of 0.5 % of the images of a split\n" in outcome.out
    assert "of 1 evaluation: test/classifier, train epoch 1: 0.252 % of the images\n" in outcome.out
    assert "last.safetensors: the same\n" in outcome.out
    stricter = command("rerun", folder.name, "with", "tolerance=0.1", data=False)
    assert stricter.code == 1
    assert "\ndifferent: beyond the tolerance of 0.1 % of" in stricter.out


def test_what_differs_is_said(command: Command, tmp_path: Path) -> None:
    (folder,) = command(*SMOKE).runs
    source = next((tmp_path / "runs" / "_sources").glob("recorder_*.py"))
    source.write_text("another version")
    run, info = (json.loads((folder / f"{name}.json").read_text()) for name in ("run", "info"))
    run["host"]["python_version"] = "3.9.1"
    run["experiment"]["dependencies"] = ["numpy==1.0.0", "sacred==0.8.7"]
    change(folder / "run.json", **run)
    changed = {"data": info["data"] | {"fingerprint": "0123"}, "machine": {"torch": "1.0", "device": "NVIDIA X"}}
    change(folder / "info.json", **changed, code={"commit": "abcdef0123", "changed": False})
    config = json.loads((folder / "config.json").read_text())
    del config["workers"]
    (folder / "config.json").write_text(json.dumps(config))
    outcome = command("rerun", folder.name, data=False)
    assert outcome.code == 0
    before, _, after = outcome.out.partition("recorded in ")
    assert "code: not as recorded (commit abcdef0, now " in before
    assert "): recording/recorder.py\n" in before
    assert "data: not as recorded (fingerprint 0123, now " in before
    assert "settings that the record does not have, at their defaults: workers=2\n" in after
    for difference in ("Python 3.9.1, now 3.", "torch 1.0, now 2.", "device NVIDIA X, now cpu", "numpy 1.0.0, now 2."):
        assert difference in after.splitlines()[-1]
    assert "sacred" not in after.splitlines()[-1]


def test_from_mongodb_alone(command: Command, port: int, tmp_path: Path) -> None:
    address = f"localhost:{port}:rerun"
    (folder,) = command("-m", address, *SMOKE).runs
    shutil.rmtree(tmp_path / "runs")
    outcome = command("-m", address, "rerun", folder.name, data=False)
    assert outcome.code == 0
    for text in ("code: the same", "data: the same", "bit-identical", "environment: the same"):
        assert text in outcome.out
    unknown = command("-m", address, "rerun", folder.name[:-1], data=False)
    assert unknown.code == 2
    assert f"did you mean {folder.name}" in unknown.err or folder.name in unknown.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["nothing"], "no recorded run 'nothing'"),
        (["20261122-100000-aaab"], "no recorded run '20261122-100000-aaab'; did you mean 20261122-100000-aaaa"),
        (["20261122-100000-bbbb"], "the run 20261122-100000-bbbb is interrupted: only a completed run can be repeated"),
        (["20261122-100000-cccc"], "the record runs/20261122-100000-cccc is damaged: run.json"),
        ([], "which run? Write `python main.py rerun RUN`"),
        (["20261122-100000-aaaa", "20261122-100000-bbbb"], "which run?"),
        (["20261122-100000-aaaa", "with", "seed=2"], "a rerun cannot change seed; it can change"),
        (["20261122-100000-aaaa", "with", "devic=cpu"], "a rerun cannot change devic; did you mean 'device'?"),
        (["20261122-100000-aaaa", "with", "digits"], "a rerun cannot change data.name"),
        (["20261122-100000-aaaa", "with", "server_usr"], "unknown named configuration 'server_usr'"),
        (["20261122-100000-aaaa", "with", "tolerance=x"], "tolerance=x: must be a percentage of the images"),
        (["20261122-100000-aaaa", "with", "log_dir=none"], "no folder of records none"),
    ],
)
def test_bad_questions(command: Command, tmp_path: Path, words: list[str], error: str) -> None:
    write_record(tmp_path / "runs", run_id="20261122-100000-aaaa")
    write_record(tmp_path / "runs", run_id="20261122-100000-bbbb", status="INTERRUPTED")
    damaged = write_record(tmp_path / "runs", run_id="20261122-100000-cccc")
    (tmp_path / "runs" / damaged / "run.json").write_text("{")
    outcome = command("rerun", *words, data=False)
    assert (outcome.code, outcome.out, outcome.runs) == (2, "", [])
    assert outcome.err.startswith(f"error: {error}"), outcome.err
    assert outcome.err.count("\n") == 1


def test_a_record_of_an_older_version(command: Command) -> None:
    """One of its settings no longer exists: nothing is started."""
    (folder,) = command(*SMOKE).runs
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["method"]["hparams"]["warmup"] = 3
    path.write_text(json.dumps(config))
    outcome = command("rerun", folder.name, data=False)
    assert (outcome.code, outcome.runs) == (2, [])
    assert outcome.err.startswith(f"error: the run {folder.name} (code ")
    assert "cannot be repeated here: unknown setting 'method.hparams.warmup'; one of" in outcome.err
    config["data"]["colour"] = "red"
    path.write_text(json.dumps(config))
    change(folder / "run.json")  # the index of the records looks at its time only
    assert "cannot be repeated here: unknown setting 'data.colour'" in command("rerun", folder.name, data=False).err


def test_damaged_weights_are_told(command: Command) -> None:
    (folder,) = command(*SMOKE).runs
    (folder / "last.safetensors").write_bytes(b"nothing")
    outcome = command("rerun", folder.name, data=False)
    assert (outcome.code, outcome.out, outcome.runs) == (2, "", [])
    assert outcome.err.startswith(f"error: the weights last.safetensors of the run {folder.name} are damaged")


def test_an_interrupted_repetition_can_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder,) = command(*SMOKE).runs
    with monkeypatch.context() as patch:
        patch.setattr("debiaslab.recording.recorder.RunRecorder.evaluated", interrupt)
        outcome = command("rerun", folder.name, data=False)
    (begun,) = outcome.runs
    assert outcome.code == 130
    assert f"to resume: python main.py rerun with id={folder.name} resume=runs/{begun.name}\n" in outcome.err
    going_on = command("rerun", folder.name, "with", f"resume=runs/{begun.name}", data=False)
    assert going_on.code == 0
    assert "bit-identical" in going_on.out


def interrupt(*arguments: Any) -> None:
    raise KeyboardInterrupt


def test_help_tells_how() -> None:
    assert "  rerun RUN [with WORDS]\n      repeat a recorded run" in general_help()
    assert rerun.__doc__
    assert "`python main.py rerun RUN [with WORDS]`" in rerun.__doc__


def test_the_repetition_of_a_trial_is_no_trial(command: Command) -> None:
    (folder,) = command(*SMOKE, "search=rates", "trial=3", "objective=valid/unbiased").runs
    outcome = command("rerun", folder.name, data=False)
    assert (outcome.code, outcome.err) == (0, "")
    config = outcome.record("config.json")
    assert (config["search"], config["trial"], config["objective"]) == (None, None, None)


def test_the_repetition_of_a_tuned_run_is_tuned(command: Command) -> None:
    (folder,) = command(*SMOKE, "search=rates", "tuned=3", "objective=valid/unbiased").runs
    outcome = command("rerun", folder.name, data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.record("config.json")["tuned"] == 3
