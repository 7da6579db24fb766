"""The command line as a user meets it: settings, short names, mistakes."""

import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from debiaslab import commands, main
from debiaslab.commands.overview import GROUPS, INTERNAL, overview
from debiaslab.commands.runs import prepare
from debiaslab.commands.words import describe_words
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.core.mongo import MONGO_URL
from debiaslab.core.settings import setting_names
from debiaslab.datasets.digits import ColoredDigits
from debiaslab.methods import MethodConfig
from debiaslab.recording.command_line import (
    REFUSED_OPTIONS,
    command_line_of,
    explain_interruption,
    parse,
    run_command_line,
)
from debiaslab.settings.run import RunSettings
from debiaslab.settings.setup import load_once
from tests.conftest import Command, Outcome

ROOT = Path(main.__file__).parents[1]


def settings(outcome: Outcome) -> dict[str, str]:
    """What print_config printed: "<ingredient>.<name>" -> value as written."""
    values: dict[str, str] = {}
    path: list[str] = []
    for line in outcome.out.splitlines()[1:]:
        text = line.partition("#")[0].rstrip()
        depth = (len(text) - len(text.lstrip())) // 2 - 1
        name, separator, value = text.strip().partition(" = ")
        path = [*path[:depth], name.rstrip(":")]
        if separator:
            values[".".join(path)] = value
    return values


def test_defaults(command: Command) -> None:
    outcome = command("print_config")
    values = settings(outcome)
    assert outcome.code == 0
    assert values["data.name"] == "'digits'"
    assert values["method.name"] == "'denetdm'"
    assert values["selection"] == "'best_valid_unbiased'"
    assert values["method.hparams.hand_over"] == "'best_valid_conflicting'"
    assert outcome.runs == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["colored_mnist"], {"data.name": "'colored_mnist'", "data.skew": "0.01", "data.severity": "4"}),
        (["skewed0"], {"data.skew": "0.9"}),
        (["skewed1"], {"data.skew": "0.05"}),
        (["skewed2"], {"data.skew": "0.02"}),
        (["skewed3"], {"data.skew": "0.01"}),
        (["skewed4"], {"data.skew": "0.005"}),
        (["severity1"], {"data.severity": "1"}),
        (["severity2"], {"data.severity": "2"}),
        (["severity3"], {"data.severity": "3"}),
        (["severity4"], {"data.severity": "4"}),
        (["reverse"], {"data.reverse": "True"}),
        (
            ["published"],
            {
                "data.protocol": "'published'",
                "selection": "'oracle_test_unbiased'",
                "method.hparams.hand_over": "'oracle_test_conflicting'",
            },
        ),
        (["adam", "method=erm"], {"method.hparams.optimizer": "'adam'", "method.hparams.weight_decay": "0.0"}),
        (["adamw", "method=erm"], {"method.hparams.optimizer": "'adamw'", "method.hparams.weight_decay": "0.005"}),
        (["smoke"], {"method.hparams.num_steps": "20", "method.hparams.epochs": "None"}),
        (["epochs=7"], {"method.hparams.epochs": "7", "method.hparams.num_steps": "None"}),
        (["num_steps=7"], {"method.hparams.num_steps": "7", "method.hparams.epochs": "None"}),
        (
            ["colored_mnist", "method=erm"],
            {"method.hparams.num_steps": "23500", "method.recipe": "'nam2020'", "model.name": "'mlp'"},
        ),
        (["colored_mnist", "method=erm", "epochs=3"], {"method.hparams.num_steps": "None"}),
        (["colored_mnist", "method=erm", "log_epochs", "epochs=3"], {"method.hparams.epochs": "3"}),
        (["colored_mnist", "method=erm", "method.recipe=lee2021"], {"model.hparams.widths": "[100, 100, 16]"}),
        (["seed=0"], {"seed": "0"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_named_configurations_and_short_names(command: Command, words: list[str], expected: dict[str, str]) -> None:
    outcome = command("print_config", "with", *words)
    values = settings(outcome)
    assert outcome.code == 0
    assert {name: values[name] for name in expected} == expected


def test_only_the_chosen_method_shows_its_hyper_parameters(command: Command) -> None:
    erm = settings(command("print_config", "with", "method=erm"))
    denetdm = settings(command("print_config", "with", "method=denetdm"))
    assert not any("distill" in name for name in erm)
    assert "method.hparams.temperature" in denetdm
    assert "model.hparams.shallow" in denetdm
    assert "model.hparams.shallow" not in erm


def test_server_user_reads_the_environment() -> None:
    """In a process of its own: the environment is read when the configuration is defined."""
    outcome = subprocess.run(
        [
            sys.executable,
            ROOT / "main.py",
            "print_config",
            "with",
            "server_user",
            "colored_mnist",
            "skewed1",
            "severity4",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "DEBIAS_DATA": "/some/data", "DEBIAS_LOGS": "/some/logs"},
    )
    values = settings(Outcome(0, outcome.stdout, outcome.stderr, []))
    assert (values["data.root"], values["log_dir"]) == ("'/some/data'", "'/some/logs'")
    assert values["method.name"] == "'denetdm'"
    assert outcome.stderr == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=denetmd"], "unknown method 'denetmd'; did you mean 'denetdm'? one of afr, "),
        (["data=colored_mnst"], "unknown data set 'colored_mnst'; did you mean 'colored_mnist'?"),
        (["method=LfFs"], "unknown method 'LfFs'; did you mean 'lff'?"),
        (["data=BFFHQ"], "unknown data set 'BFFHQ'; did you mean 'bffhq'?"),
        (["kinetics10"], "denetdm cannot be trained on kinetics10: it has no networks for clips"),
        (["celeba", "method.recipe=nam2020"], "unknown recipe of DeNetDM on celeba 'nam2020'; one of sreelatha2024"),
        (["model=mpl"], "unknown model 'mpl'; did you mean 'mlp'?"),
        (["skewd1"], "unknown named configuration 'skewd1'; did you mean 'skewed1'?"),
        (
            ["skewed1", "skewed2"],
            "skewed1 and skewed2 contradict each other, data.skew=0.05 and data.skew=0.02: name one",
        ),
        (
            ["colored_mnist", "bar"],
            "colored_mnist and bar contradict each other, data.name=colored_mnist and data.name=bar",
        ),
        (["missing.json"], "no configuration file missing.json"),
        (["config.pickle"], "unknown named configuration 'config.pickle'"),
        (["method.hparams.temprature=3"], "unknown setting 'method.hparams.temprature'; did you mean 'temperature'?"),
        (["method.hparams.temperature=hot"], "method.hparams.temperature='hot': must be of type float, not str"),
        (["method.hparams.temperature=0"], "method.hparams.temperature=0.0: must be positive"),
        (["method.hparams.learning_rate=-1"], "method.hparams.learning_rate=-1.0: must be positive"),
        (["method.hparams.optimizer=adm"], "method.hparams.optimizer='adm': must be one of adam"),
        (["method.hparams=3"], "method.hparams=3: must be settings; write method.hparams.NAME=VALUE"),
        (["method.hparam.q=3"], "unknown setting 'method.hparam'; did you mean 'hparams'?"),
        (["method=erm", "method.recipe=lee"], "unknown recipe of ERM on digits 'lee'; one of debiaslab"),
        (["model.hparams.deep=0"], "model.hparams.deep=0: must be positive"),
        (["method=erm", "model=mlp_branches"], "model MLPBranches has no 'classifier' network"),
        (
            ["method.hparams.hand_over=None", "method.hparams.distill_weight=5"],
            "method.hparams.distill_weight=5 has no effect with method.hparams.hand_over=None; leave it out or change",
        ),
        (
            ["method=erm", "method.hparams.lr_decay_epochs=1"],
            "method.hparams.lr_decay_epochs=1 has no effect with method.hparams.lr_schedule=constant; leave it out",
        ),
        (
            ["method=disent_be", "method.hparams.lr_decay_step=None", "method.hparams.lr_gamma=0.9"],
            "method.hparams.lr_gamma=0.9 has no effect with method.hparams.lr_decay_step=None; leave it out",
        ),
        (["epochs=2", "num_steps=3"], "epochs=2 and num_steps=3: give one of the two; NAME=None removes"),
        (["data.skew=1.5"], "data.skew=1.5: must be between 0 and 1, both excluded"),
        (["data.skew=0"], "data.skew=0.0: must be between 0 and 1, both excluded"),
        (["data.severity=0"], "data.severity=0: must be 1 to 5"),
        (["data.severity=9"], "data.severity=9: must be 1 to 5"),
        (["data.protocol=paper"], "data.protocol='paper': must be holdout, iid, published"),
        (["data.seed=-1"], "data.seed=-1: must be 0 or more, below 2^32"),
        (["data.seed=4294967296"], "data.seed=4294967296: must be 0 or more, below 2^32"),
        (["data.=1"], "data.=1: a part of the setting's name is missing; write NAME=VALUE"),
        (["log_dir="], "log_dir='': must be the name of a folder"),
        (["data.skwe=0.1"], "unknown setting 'data.skwe'; did you mean 'skew'?"),
        (["data.arrays=folder"], "data.arrays is not a setting of digits; its settings:"),
        (["colored_mnist", "data.arrays=folder"], "folder/train/images.npy is not there; data.arrays names a folder"),
        (["sead=3"], "unknown setting 'sead'; did you mean 'seed'?"),
        (["learning_rate=0.1"], "unknown setting 'learning_rate'; did you mean 'method.hparams.learning_rate'? one of"),
        (["lr=0.1"], "unknown setting 'lr'; did you mean 'method.hparams.learning_rate'? one of"),
        (["gpu=0"], "unknown setting 'gpu'; did you mean 'device'? one of"),
        (["hparams.learning_rate=1"], "unknown setting 'hparams'; did you mean 'method.hparams.learning_rate'? one of"),
        (
            ["method.learning_rate=1"],
            "'method.learning_rate'; did you mean 'method.hparams.learning_rate'? one of hparams,",
        ),
        (["model.widhts=[3]", "method=erm"], "'model.widhts'; did you mean 'model.hparams.widths'? one of hparams,"),
        (["severity=3"], "unknown setting 'severity'; did you mean 'data.severity'? one of channels_last,"),
        (["rho=0.9"], "unknown setting 'rho'; one of channels_last,"),  # no setting of these data
        (["name=erm"], "unknown setting 'name'; one of channels_last,"),  # of data, method and model
        (["learning_rate.x=1"], "unknown setting 'learning_rate'; one of channels_last,"),
        (["seed=-1"], "seed=-1: must be 0 or more"),
        (["seed=abc"], "seed='abc': must be of type int, not str"),
        (["device=cuda:99"], "device='cuda:99' is not available; one of auto, cpu, cuda, cuda:N, mps"),
        (["device=gpu"], "device='gpu' is not available"),
        (["device=meta"], "device='meta' is not available"),
        (["seed=4294967296"], "seed=4294967296: must be 0 or more, below 2^32"),
        (["-s", "sqlite:///x"], "--sql is not supported: records go to files and, with -m, to MongoDB"),
        (["colored_mnist", "skewed1", "data.arrays=folder"], "data.skew=0.05: must be left out with data.arrays"),
        (["selection=best"], "unknown rule selection='best'; one of last"),
        (["published", "selection=best_valid_unbiased"], "selection=best_valid_unbiased needs validation images"),
        (["published", "method.hparams.hand_over=best_valid_aligned"], "hand_over=best_valid_aligned needs validation"),
        (["checkpoint=missing", "train=False"], "no checkpoint missing; a run's folder has last.safetensors"),
        (["resume=RUN", "checkpoint=missing", "train=False"], "resume=RUN resumes a training; leave it out to"),
        (["memory_gb=1e400"], "memory_gb=inf: must be a finite number"),
        (["train=False"], "nothing to evaluate: give a run, as in `python main.py evaluate RUN`, or checkpoint=PATH"),
        (["resume=missing"], "nothing to resume in resume=missing: there is no such folder; give a run's"),
        (
            ["resume=."],
            "nothing to resume in resume=.: no resume.safetensors; the run is complete, or has not started",
        ),
        (["log_dir=/proc/nowhere"], "cannot write into /proc/nowhere: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_leave_no_record(command: Command, words: list[str], message: str) -> None:
    outcome = command("with", "smoke", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert outcome.runs == []


def test_configuration_files(command: Command, tmp_path: Path) -> None:
    mine = {"method": "erm", "data.skew": 0.3, "model": {"hparams": {"widths": [8]}}}
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    values = settings(command("print_config", "with", "mine.json", "seed=4"))
    assert values["method.name"] == "'erm'"
    assert (values["data.skew"], values["model.hparams.widths"], values["seed"]) == ("0.3", "[8]", "4")
    assert settings(command("print_config", "with", "mine.json", "data.skew=0.2"))["data.skew"] == "0.2"
    for content, message in (
        ("[1]", "must be a JSON object"),
        ('{"data": {"seed": -1}}', "data.seed=-1: must be 0 or more, below 2^32"),
        ('{"seed": ', "cannot read the configuration file"),
    ):
        (tmp_path / "bad.json").write_text(content)
        outcome = command("print_config", "with", "bad.json")
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.err.count("\n") == 1


def test_file_storage_option_is_the_record_folder(command: Command, tmp_path: Path) -> None:
    outcome = command("-F", "elsewhere", "with", "smoke", "method=erm")
    (folder,) = outcome.runs
    assert folder.parent == tmp_path / "elsewhere"


def test_oracle_rules_are_labelled_whatever_is_reported(command: Command) -> None:
    outcome = command("with", "smoke", "published", "selection=last")
    assert "hand_over oracle_test_conflicting (chosen on test images)" in " ".join(outcome.out.split())


def test_swapped_roles_are_another_task(command: Command) -> None:
    (folder,) = command("with", "smoke", "method=erm").runs
    outcome = command("evaluate", "with", "method=erm", "reverse", f"checkpoint={folder}")
    assert outcome.code == 2
    assert "is of a run with data.reverse=False, not True" in outcome.err
    assert "target and bias swapped" in command("with", "smoke", "method=erm", "reverse").out


def test_unreadable_data_root(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = command("with", "colored_mnist", "data.root=file/root", data=False)
    assert outcome.code == 2
    assert "cannot write into file/root" in outcome.err
    assert outcome.runs == []


def test_train_prints_result_record_and_what_next(command: Command) -> None:
    outcome = command("with", "smoke", "method=denetdm", "seed=3")
    (folder,) = outcome.runs
    assert outcome.code == 0
    assert outcome.err == ""
    for text in ("unbiased", "aligned", "conflicting", "worst group", "last", "best_valid_unbiased", "target", "deep"):
        assert text in outcome.out
    assert f"recorded in runs/{folder.name}" in outcome.out
    assert "python main.py compare" in outcome.out
    assert outcome.record("config.json")["seed"] == 3
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "cout.txt",
        "curves.png",
        "diagnostics.png",
        "evaluations.jsonl",
        "info.json",
        "last.safetensors",
        "metrics.json",
        "run.json",
        "samples.png",
        "selected.safetensors",
    ]


def test_the_result_is_told_before_pictures_are_drawn(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("cannot draw")

    monkeypatch.setattr("debiaslab.commands.train.save_curves", fail)
    outcome = command("with", "smoke", "method=erm")
    assert (outcome.code, outcome.err) == (2, "error: cannot draw\n")
    assert "worst group" in outcome.out


def test_runs_on_the_same_data_have_the_same_sample_grid(command: Command) -> None:
    first, second, other = (
        command("with", "smoke", "method=erm", word).runs[0] / "samples.png"
        for word in ("seed=1", "seed=2", "data.skew=0.1")
    )
    assert first.samefile(second)
    assert not first.samefile(other)


def test_data_without_a_conflicting_image_are_said_to_be_so(command: Command) -> None:
    """As few as a ten-thousandth of 1,200 images are none."""
    line = "none of the 1,200 training images conflicts with the bias\n"
    assert line in command("with", "smoke", "method=erm", "data.skew=0.0001").out
    assert line not in command("with", "smoke", "method=erm").out


def test_notes_of_the_data_are_printed_and_recorded(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ColoredDigits.load
    monkeypatch.setattr(ColoredDigits, "load", lambda self: replace(original(self), notes=("2 files left out",)))
    load_once.cache_clear()
    trained = command("with", "smoke", "method=erm")
    (folder,) = trained.runs
    evaluated = command("evaluate", "with", "smoke", "method=erm", f"checkpoint={folder}")
    load_once.cache_clear()
    for outcome in (trained, evaluated):
        assert "2 files left out" in outcome.out.splitlines()
        assert outcome.record("info.json")["data"]["notes"] == ["2 files left out"]


def test_the_oracle_rule_is_labelled(command: Command) -> None:
    outcome = command("with", "smoke", "method=erm", "published")
    assert "chosen on test images" in " ".join(outcome.out.split())
    assert set(outcome.record("run.json")["result"]) == {"last", "oracle_test_unbiased"}


@pytest.mark.parametrize("words", [["evaluate", "with"], ["with", "train=False"]], ids=["command", "train=False"])
def test_evaluate_gives_the_accuracies_of_training(command: Command, words: list[str]) -> None:
    trained = command("with", "smoke", "method=denetdm")
    (folder,) = trained.runs
    outcome = command(*words, "smoke", "method=denetdm", f"checkpoint={folder}")
    assert outcome.code == 0
    expected = trained.record("run.json")["result"]["last"]
    assert outcome.record("run.json")["result"]["last"] == expected
    compared = command("compare", str(folder), str(outcome.runs[0]), data=False).out
    assert (f"{folder.name}, seed 1" in compared, f"{outcome.runs[0].name}, seed 1" in compared) == (True, False)


def test_weights_of_another_run_are_refused(command: Command) -> None:
    (folder,) = command("with", "smoke", "method=erm").runs
    weights = f"checkpoint={folder}/selected.safetensors"
    for words, message in (
        (["method=denetdm"], "is of a run with method.name='erm', not 'denetdm'"),
        (["method=erm", "model.hparams.widths=[8]"], "is of a run with model.hparams.widths=[100, 100, 100], not [8]"),
    ):
        outcome = command("evaluate", "with", *words, weights)
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.runs == []
    file = folder / "last.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    outcome = command("evaluate", "with", "method=erm", f"checkpoint={folder}")
    assert outcome.code == 2
    assert "cannot read the checkpoint" in outcome.err


def test_weights_of_another_data_set_are_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder,) = command("with", "smoke", "method=erm").runs
    from debiaslab.datasets import DATASETS
    from debiaslab.datasets.digits import ColoredDigits
    from debiaslab.methods.erm import ERM

    monkeypatch.setitem(DATASETS, "other_digits", ColoredDigits)
    monkeypatch.setitem(ERM.RECIPES, "other_digits", ERM.RECIPES["digits"])
    outcome = command("evaluate", "with", "data=other_digits", "method=erm", f"checkpoint={folder}")
    assert outcome.code == 2
    assert "is of a run with data.name='digits', not 'other_digits'" in outcome.err


def test_a_diverging_run_fails_and_is_recorded_so(command: Command) -> None:
    outcome = command(
        "with", "smoke", "method=erm", "method.hparams.optimizer=sgd", "method.hparams.learning_rate=1e30"
    )
    assert outcome.code == 1
    assert outcome.err.startswith("training stopped: loss is ")
    assert outcome.err.count("\n") == 1
    assert outcome.record("run.json")["status"] == "FAILED"


def test_the_documented_command_of_lff() -> None:
    words = ["print_config", "with", "server_user", "colored_mnist", "skewed3", "severity4"]
    outcome = subprocess.run([sys.executable, ROOT / "train.py", *words], capture_output=True, text=True, check=True)
    values = settings(Outcome(0, outcome.stdout, outcome.stderr, []))
    assert (values["method.name"], values["data.skew"]) == ("'lff'", "0.01")


def test_unknown_command(command: Command) -> None:
    outcome = command("evalute")
    assert outcome.code == 2
    assert outcome.err.startswith("error: unknown command 'evalute'; did you mean 'evaluate'? one of ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("smoke", "'smoke' is not a command: settings come after with, as in python main.py with smoke"),
        ("method=erm", "'method=erm' is not a command: settings come after with, as in python main.py with method=erm"),
        (
            "method=erm smoke",
            "cannot read 'method=erm smoke': settings come after with, as in python main.py with method=erm",
        ),
        (
            "results digits",
            "cannot read 'results digits': settings come after with, as in python main.py results with digits",
        ),
        (
            "-m x results digits",
            "cannot read '-m x results digits': settings come after with, as in python main.py -m x results with",
        ),
        ("report -o", "cannot read 'report -o': it must be [OPTIONS] [COMMAND] [with SETTINGS]; python"),
        (
            "-m x colored_mnist skewed1",
            "cannot read '-m x colored_mnist skewed1': settings come after with, as in python",
        ),
        ("with", "there is nothing after with: leave it out or add settings"),
        ("report with digits -out=foo", "-o ut=foo: must be the name of a folder, without ="),
        ("--foo", "cannot read '--foo': it must be [OPTIONS] [COMMAND] [with SETTINGS]; python main.py --help"),
        ("-m", "cannot read '-m': it must be [OPTIONS] [COMMAND] [with SETTINGS]; python main.py --help"),
        ("help reslts", "unknown command 'reslts'; did you mean 'results'? one of "),
        ("-q with smoke", "--queue is not supported: runs start immediately; use a study for several runs"),
        ("-P abc with smoke", "--priority is not supported: runs start immediately"),
        ("-e with smoke", "--enforce_clean is not supported: every record contains the code version"),
        ("-b abc with smoke", "--beat-interval=abc: must be seconds, such as 10 or 0.5"),
        ("-C foo with smoke", "--capture is not supported: all output is recorded"),
        ("-l FOO with smoke", "--loglevel is not supported: there is no log besides the output"),
        ("-i ../up with smoke", "--id=../up: must be letters, digits, and -, _ or . after the first"),
        ("-i .hidden with smoke", "--id=.hidden: must be letters, digits, and -, _ or . after the first"),
        ("-i _sources with smoke", "--id=_sources: must be letters, digits, and -, _ or . after the first"),
        (f"-i {'x' * 256} with smoke", "--id=xxxxxxxxxxxxxxxxxxxx...: must be no longer than 200 bytes"),
        ("together with smoke seeds=1 ids=_a", "ids=_a: must be letters, digits, and -, _ or . after the first"),
        ("-u with smoke seeds=2", "--unobserved has no effect with seeds: leave it out"),
        ("-i 9 with smoke seeds=2", "--id has no effect with seeds: leave it out"),
        ("-c words results", "--comment has no effect with results: leave it out"),
        ("seeds with smoke", "which runs? give seeds=5, seeds=1-5 or seeds=1,2,3"),
        ("results with list=yes", "list=yes: must be True or False"),
        ("with smoke checkpoint=runs/1", "checkpoint=runs/1 is not used in training: to evaluate it, python main.py "),
    ],
)
def test_lines_that_cannot_be_carried_out(command: Command, line: str, message: str) -> None:
    outcome = command(*line.split(), data=False)
    assert (outcome.code, outcome.out, outcome.runs) == (2, "", [])
    assert outcome.err.startswith(f"error: {message}")
    assert outcome.err.count("\n") == 1


def test_an_id_is_given_once(command: Command) -> None:
    first = command("-i", "mine", "with", "smoke", "num_steps=5", "method=erm")
    assert [run.name for run in first.runs] == ["mine"]
    again = command("-i", "mine", "with", "smoke", "num_steps=5", "method=erm")
    assert (again.code, again.runs) == (2, [])
    assert again.err == "error: --id=mine: the run runs/mine already exists; choose another id\n"


@pytest.mark.parametrize("arguments", [["help", "results"], ["results", "--help"]])
def test_help_for_a_command_that_is_no_run(command: Command, arguments: list[str]) -> None:
    outcome = command(*arguments, data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("python main.py results [with WORDS]: ")
    assert "\n  format=     terminal, markdown, latex or csv\n" in outcome.out


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_tells_its_words(name: str) -> None:
    told = commands.command_help(name)
    assert told.startswith("python main.py ")
    words = describe_words(import_module(commands.COMMANDS[name]).WORDS)
    assert all(help for _, help in words)
    assert all(f"  {word}=" in told for word, _ in words)


def test_general_help(command: Command) -> None:
    """Ours first: each command with what it does, then the options; of Sacred's only those that have an effect."""
    outcome = command("--help", data=False)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[2] == "Usage: python main.py [OPTIONS] [COMMAND] [with WORDS]"
    shown = [name for names in GROUPS.values() for name in names]
    assert sorted([*shown, *INTERNAL]) == sorted(commands.EXPLAINED)
    assert "  predict RUN with images=FOLDER_OR_CSV [--out FILE]" in lines
    assert "      predict images with the classifier of a run" in lines
    assert all(line == line.rstrip() and len(line) <= 120 for line in lines)
    assert outcome.out.index("Train\n") < outcome.out.index("Options\n")
    for option in REFUSED_OPTIONS:
        assert option not in outcome.out


def test_general_help_imports_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is quick, and there without the extras that some commands need."""
    path = tmp_path / "needs_an_extra.py"
    path.write_text('"""`python main.py results`: shown all the same.\n\nMore."""\n\nimport an_extra\n')
    monkeypatch.syspath_prepend(tmp_path)
    shown = overview(dict.fromkeys(commands.EXPLAINED, path.stem)).splitlines()
    assert "      shown all the same" in shown
    assert path.stem not in sys.modules


@pytest.mark.parametrize("name", commands.EXPLAINED)
def test_every_command_has_examples_that_can_be_typed(name: str) -> None:
    if name in INTERNAL:
        return
    examples = [line.strip() for line in commands.command_help(name).partition("Examples:")[2].splitlines()]
    examples = [line for line in examples if line.startswith("python main.py ")]
    assert examples
    for line in examples:
        arguments = commands.for_parser(shlex.split(line)[2:])
        options = parse(ex, arguments, [*(known for known, _ in ex.gather_commands()), *commands.COMMANDS])  # type: ignore[no-untyped-call]
        command = options["COMMAND"] or "train"
        assert command == name
        if name in commands.COMMANDS:
            own = {word for word, _ in describe_words(import_module(commands.COMMANDS[name]).WORDS)}
            known = {"id", "method", *own, *ex.named_configs, *setting_names(RunSettings), *setting_names(MethodConfig)}
            words = [update.partition("=")[0] for update in options["UPDATE"]]
            assert [word for word in words if word not in known and "." not in word] == []


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command_line(ex, ["--help"], prepare)
    assert not stop.value.code
    assert "evaluate" in capfd.readouterr().out


def test_list_of_named_configurations(command: Command) -> None:
    outcome = command("print_named_configs")
    assert outcome.code == 0
    for name in ex.named_configs:
        assert name in outcome.out


def test_same_seed_same_weights(command: Command) -> None:
    def weights(seed: int) -> bytes:
        (folder,) = command("with", "smoke", f"seed={seed}").runs
        return (folder / "last.safetensors").read_bytes()

    first, again, other = (weights(seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_record_is_valid_json(command: Command) -> None:
    outcome = command("with", "smoke", "method.hparams.batch_size=64")
    (folder,) = outcome.runs

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    for file in folder.glob("*.json"):
        json.loads(file.read_text(), parse_constant=refuse)
    lines = (folder / "evaluations.jsonl").read_text().splitlines()
    facts = {"total", "aligned", "attribute_sizes", "min_group", "means", "train", "usual_shares", "differences"}
    assert set(json.loads(lines[0])) == facts
    info = json.loads((folder / "info.json").read_text())
    assert set(info) == {"data", "machine", "code", "bias_labels"}
    assert set(info["code"]) == {"version", "commit", "changed"}
    assert len(lines) == 1 + 2 * 2  # two phases of 20 steps, 18 to an epoch


def test_colours_go_to_a_terminal_only(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("print_config", "print_named_configs"):
        outcome = command(name)
        assert outcome.code == 0
        assert len(outcome.out.splitlines()) > 30
        assert "\x1b" not in outcome.out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b" in command("print_config").out


def test_whoever_reads_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main.run(["print_named_configs"]) == 141
        print("this goes nowhere", flush=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_is_printed_onto_a_full_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(OSError), open("/dev/full", "w") as stream:  # closing it fails
        monkeypatch.setattr(sys, "stdout", stream)
        assert main.run(["print_named_configs"]) == 2
    assert capsys.readouterr().err == "error: cannot write the output: No space left on device; free the disk\n"


def test_paths_that_the_system_refuses(command: Command, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for words, message in {
        ("plots", "with", f"out={'9' * 5000}"): f"error: cannot use {'9' * 50}...{'9' * 50}: File name too long; check",
        ("resume", str(loop)): "error: no folder of records runs",
    }.items():
        outcome = command(*words, data=False)
        assert outcome.code == 2
        assert outcome.err.startswith(message)
        assert outcome.err.count("\n") == 1


def test_a_broken_pipe_elsewhere_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(name: str, words: list[str]) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(commands, "run_command", breaks)
    with pytest.raises(BrokenPipeError):
        main.run(["results"])


def test_what_is_said_after_an_interruption_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    def explain(command: str | None, updates: list[str], **options: object) -> str:
        return explain_interruption(None, {"COMMAND": command, **options}, updates, commands.COMMANDS)

    monkeypatch.delenv(MONGO_URL, raising=False)
    assert explain("plots", []) == "interrupted; to resume: python main.py plots"
    assert explain("plots", ["kind=a b"]) == "interrupted; to resume: python main.py plots with 'kind=a b'"
    assert explain(None, ["digits"]) == "interrupted"
    monkeypatch.setenv(MONGO_URL, "host:1:db")
    assert explain("study", ["digits"]) == "interrupted; to resume: python main.py -m host:1:db study with digits"
    options = {"--comment": "two words", "--force": True, "--id": "mine", "--name": None}
    line = command_line_of(None, ["digits"], options)
    assert line == "python main.py -m host:1:db '--comment=two words' --force with digits"
    monkeypatch.setenv(MONGO_URL, "mongodb://me:secret@host/db")
    line = command_line_of("study", ["digits"])
    assert line == f"python main.py study with digits (with {MONGO_URL} as in this environment)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("with", "data.seed={'a': 1}"), "data.seed={'a': 1}: must be of type int, not dict"),
        (("with", "data.seed=-inf"), "data.seed='-inf': must be of type int, not str"),
        (
            ("with", "method.hparams={(1, 2): 3}"),
            "cannot read the value of method.hparams={(1, 2): 3}: keys must be str, ",
        ),
        (("results", "with", "top=a\nb"), r"top=a\nb: must be a whole number, 1 or more"),
    ],
)
def test_odd_values_are_one_line(command: Command, words: tuple[str, ...], message: str) -> None:
    outcome = command(*words, data=False)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")
    assert outcome.err.count("\n") == 1
