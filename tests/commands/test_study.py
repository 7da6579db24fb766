"""`main.py study`: which runs it makes of its words, what it finds recorded of them, and what it refuses."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from debiaslab.commands.parallel import num_cores
from debiaslab.commands.searches.database import one_at_a_time
from debiaslab.commands.studies.jobs import Job, jobs_of, with_data
from debiaslab.commands.studies.overview import last_step
from debiaslab.commands.studies.recorded import Recorded, State, is_locked, try_lock
from debiaslab.commands.studies.words import read_study
from debiaslab.commands.study import threads_per_run
from debiaslab.commands.words import read_seeds
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.recording.configuration import configuration
from debiaslab.recording.observers import STATE
from debiaslab.recording.version import current_code
from tests.conftest import Command

WORDS = ("digits", "smoke")


def labels(*words: str) -> list[str]:
    return [job.label for job in jobs_of(read_study(words))]


# ---- words


def test_methods_by_variants_by_seeds() -> None:
    found = labels(*WORDS, "methods=erm,lff", "variants=skewed1,skewed4+severity2", "seeds=1,3")
    assert found == [
        f"{method} {variant} seed {seed}"
        for variant in ("skewed1", "skewed4+severity2")
        for seed in (1, 3)
        for method in ("erm", "lff")
    ]


def test_defaults_are_three_seeds_of_all_methods_with_a_recipe() -> None:
    assert labels("biased_mnist", "seed=7") == [
        f"{name} seed 7" for name in ("end", "erm", "learned_mixin", "rebias", "rubi", "vanilla_biased")
    ]
    assert labels(*WORDS, "method=erm") == ["erm seed 1", "erm seed 2", "erm seed 3"]
    assert labels(*WORDS, "methods=erm,lff", "method=lff", "seed=5") == ["lff seed 5"]  # the last word counts


def test_a_job_has_the_configuration_that_its_words_give() -> None:
    (job,) = jobs_of(read_study([*WORDS, "method=lff", "variants=skewed4+method.hparams.q=0.5", "seed=3"]))
    config = configuration(ex, job.words)
    assert config == job.setup.config
    assert (config["data"]["skew"], config["method"]["hparams"]["q"], config["seed"]) == (0.005, 0.5, 3)
    assert config["evaluate_images"] == 500


def test_jobs_of_all_methods_and_seeds_have_the_configurations_that_their_words_give() -> None:
    """They are not computed anew for each seed."""
    jobs = jobs_of(read_study([*WORDS, "variants=skewed4,skewed1", "seeds=3,5"]))
    assert len({job.method for job in jobs}) > 20
    assert [configuration(ex, job.words) for job in jobs] == [job.setup.config for job in jobs]


def test_the_same_run_by_two_names_is_one_job() -> None:
    same = jobs_of(read_study([*WORDS, "method=erm", "seed=1", "variants=skewed4,data.skew=0.005,data.root=elsewhere"]))
    assert [job.variant for job in same] == ["skewed4", "data.root=elsewhere"]
    one, two = (labels(*WORDS, "method=erm", "seed=1", f"variants={text}") for text in ("skewed4", "data.skew=5e-3"))
    assert len(one) == len(two) == 1
    keys = [
        jobs_of(read_study([*WORDS, "method=erm", "seed=1", *words]))[0].key
        for words in (["data.severity=4"], ["severity4", "workers=0"], ["severity3"])
    ]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(("text", "seeds"), [("1,2,3", (1, 2, 3)), ("1-4", (1, 2, 3, 4)), ("7,1-2,2", (7, 1, 2))])
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["methods=erm,lf"], "unknown method 'lf'; did you mean 'lff'?"),
        (["variants=skewed1+skewd4"], "unknown named configuration 'skewd4'; did you mean 'skewed4'?"),
        (["variants=skewed1,"], "variants=skewed1,: something is missing; write variants=A,B"),
        (["data.skw=0.1"], "unknown setting 'data.skw'; did you mean 'skew'?"),
        (["method.hparams.q=0.5", "methods=lff,erm"], "erm: unknown setting 'method.hparams.q'"),
        (["evry=1"], "unknown setting 'evry'"),
        (["methods=denetdm", "data=kinetics10"], "denetdm: denetdm cannot be trained on kinetics10"),
        (["variants=method=lff"], "variants=method=lff: variants cannot contain method; leave it out there"),
        (["variants=skewed1,skewed2+seed=3"], "variants=seed=3: variants cannot contain seed; leave it out there"),
        (["variants=data.skew=2.5"], "data.skew=2.5: must be between 0 and 1, both excluded"),
        (["seeds=3-1"], "seeds=3-1: '3-1' is not a seed; write seeds=1,2,3 or seeds=1-5"),
        (["seeds=1-99999"], "seeds=1-99999: more than 10,000 seeds"),
        (["seeds=a"], "seeds=a: 'a' is not a seed"),
        (["jobs=0"], "jobs=0: must be a whole number, 1 or more"),
        (["list=yes"], "list=yes: must be True or False"),
        (["resume=runs/x"], "resume=runs/x: a study decides that for each of its runs; leave it out"),
        (["train=False"], "train=False: a study decides that"),
        (["format=word"], "unknown format 'word'"),
        (["rule=bst"], "unknown rule rule='bst'"),
        (["metric=test/unbaised"], "unknown metric 'test/unbaised'; did you mean 'test/unbiased'?"),
        (["metric=test/unbiased,unbiased"], "unknown metric 'unbiased';"),
        (["metric=tset/shallow/unbiased"], "unknown metric 'tset/shallow/unbiased'; did you mean 'test/unbiased'?"),
        (
            ["metric=test/classifier/unbiased"],
            "unknown metric 'test/classifier/unbiased'; did you mean 'test/unbiased'?",
        ),
        (["methods=erm,lff", "against=emr"], "unknown row 'against=emr'; did you mean 'erm'? one of erm, lff"),
        (
            ["methods=erm", "variants=num_steps=1,num_steps=2", "against=erm"],
            "unknown row 'against=erm'; one of erm (num_steps 1), erm (num_steps 2)",
        ),
        (["variants=log_dir=a,log_dir=b"], "the variants have different folders of records; give one log_dir for all"),
        (["device=tpu"], "device='tpu' is not available"),
        (["method=erm", "selection=oracle_test_unbiased", "data.arrays=no"], "data.arrays is not a setting of digits"),
        (["method=erm", "data=bffhq"], "erm seed 1: "),
        (["method=erm", "model=resnet20", "model.pretrained=none.pth"], "erm: "),
    ],
)
def test_bad_words_are_told_before_anything_runs(command: Command, words: list[str], error: str) -> None:
    outcome = command("study", "with", *WORDS, *words)
    assert (outcome.code, outcome.runs) == (2, [])
    assert outcome.err.startswith(f"error: {error}")
    assert outcome.err.count("\n") == 1


# ---- records


@pytest.fixture
def job(data_root: Path, command: Command) -> Job:
    """A job with its data, in an empty folder."""
    words = [*WORDS, "method=erm", "seed=1", f"data.root={data_root}"]
    return next(iter(with_data(jobs_of(read_study(words)))))


def state_of(job: Job, code: dict[str, str] | None = None) -> State:
    return Recorded(job.log_dir, current_code(ex) if code is None else code).state(job)


def test_what_is_recorded_of_a_job(job: Job, command: Command) -> None:
    assert state_of(job) == State()
    (folder,) = command("with", *job.words, data=False).runs
    done = state_of(job)
    assert done == State(done=folder.name, same_code=True)
    assert done.settles(again=True)
    # by the code as it was before a change of a method, but not before one of a table
    code = current_code(ex)
    assert state_of(job, {**code}) == done
    older = state_of(job, {**code, "methods/erm.py": "0" * 32})
    assert older == State(done=folder.name)
    assert older.settles(again=False)
    assert not older.settles(again=True)
    assert not [name for name in code if name.startswith(("analysis/", "commands/", "recording/"))]
    assert {"main.py", "methods/erm.py", "training/loop.py"} <= set(code)
    # of another run, or on other data
    assert state_of(jobs_of(read_study([*job.words, "seed=2"]))[0]) == State()
    assert job.data is not None
    assert state_of(replace(job, data=replace(job.data, fingerprint="another"))) == State()


def test_an_unfinished_run_without_a_sound_state_begins_anew(job: Job, command: Command) -> None:
    (folder,) = command("with", *job.words, data=False).runs
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"status": "INTERRUPTED", "result": None}))
    assert state_of(job) == State()
    (folder / STATE).write_bytes(b"damaged")
    assert state_of(job) == State()


def test_a_run_that_only_evaluated_is_none_of_a_study(job: Job, command: Command) -> None:
    (folder,) = command("with", *job.words, data=False).runs
    for words in (["train=False"], []):
        command(*([] if words else ["evaluate"]), "with", *job.words, *words, f"checkpoint={folder}", data=False)
    assert len(list(folder.parent.glob("*/run.json"))) == 3
    assert state_of(job) == State(done=folder.name, same_code=True)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    name = errno.errorcode[number]
    with pytest.raises(
        UserError, match=rf"cannot lock \S+/\.locks/a \({name}.*choose a folder on a local disk, or mount"
    ):
        try_lock(tmp_path, "a")
    with (
        pytest.raises(UserError, match=r"cannot lock \S+/search\.db\.turn"),
        one_at_a_time(str(tmp_path / "search.db")),
    ):
        raise AssertionError("not locked")


def test_the_lock_of_a_job(tmp_path: Path) -> None:
    first = try_lock(tmp_path, "a")
    assert first is not None
    assert try_lock(tmp_path, "a") is None
    assert is_locked(tmp_path, "a")
    assert not is_locked(tmp_path, "b")
    other = try_lock(tmp_path, "b")
    assert other is not None
    first.close()
    assert not is_locked(tmp_path, "a")
    again = try_lock(tmp_path, "a")
    assert again is not None
    with pytest.raises(UserError, match=r"^cannot write .*; choose another folder with log_dir=DIR$"):
        try_lock(tmp_path / "missing", "a")


# ---- what is shown


def test_a_list_needs_no_data_and_leaves_nothing(command: Command, tmp_path: Path) -> None:
    outcome = command("study", "with", "bffhq", "variants=pct1,pct5", "methods=erm", "list=True", "data.root=none")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("to run") == 7  # six runs, and the sum
    assert "6 runs: 6 to run; 1 at a time" in outcome.out
    assert list(tmp_path.iterdir()) == []


def test_a_list_says_what_is_done(command: Command) -> None:
    (folder,) = command("with", *WORDS, "method=erm", "seed=2").runs
    outcome = command("study", "with", *WORDS, "method=erm", "seeds=1-2", "list=True")
    assert f"2 runs: 1 to run, 1 done; {num_cores()} at a time" in outcome.out
    (line,) = [line for line in outcome.out.splitlines() if folder.name in line]
    assert line.split() == ["erm", "2", "done", f"runs/{folder.name}"]


def test_steps_of_the_last_evaluation(tmp_path: Path) -> None:
    assert last_step(tmp_path) == 0
    (tmp_path / "evaluations.jsonl").write_text('{"total": {}}\n')
    assert last_step(tmp_path) == 0
    (tmp_path / "evaluations.jsonl").write_text('{"total": {}}\n{"step": 10}\n{"step": 20}\n{"st')
    assert last_step(tmp_path) == 20


def test_threads_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_per_run(parallel) for parallel in (1, 2, 3, 20)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_per_run(2) is None  # the runs inherit it
