"""A setting is declared in one place, and everything that shows or compares it follows."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import Query
from debiaslab.commands.studies.jobs import jobs_of, settings_of
from debiaslab.commands.studies.words import read_study
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.core.settings import declared, setting, setting_names
from debiaslab.datasets import DATASETS
from debiaslab.datasets.digits import ColoredDigits
from debiaslab.recording.configuration import configuration
from debiaslab.settings import docs
from debiaslab.settings.declared import (
    as_recorded_now,
    conflicting_percent,
    data_declarations,
    declarations,
    differs_from_published,
    earlier_values,
    result_settings,
    variant_of,
    without_effect_on_results,
)
from debiaslab.settings.setup import check
from tests.conftest import Command

ROOT = Path(__file__).parents[2]
FORMER = {name for cls in DATASETS.values() for name in setting_names(cls)}  # None in old records that lack them
SMOKE = ["smoke", "method=erm", "model.hparams.widths=[4]", "seed=1"]


@dataclass(frozen=True, kw_only=True)
class Stained(ColoredDigits):
    stains: int = setting(3, "spots of dirt on every image", label=True)


def test_a_data_setting_is_added_in_one_place(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setitem(DATASETS, "stained", Stained)
    shown = command("print_config", "with", "data=stained", "method=erm", data=False).out
    assert "stains = 3                       # spots of dirt on every image" in shown
    config = configuration(ex, ["data=stained", "method=erm", "data.stains=5"])
    assert result_settings(config)["data.stains"] == 5
    assert variant_of(config["data"]) == "skew 0.02, severity 4, stains 5"
    assert differs_from_published(config["data"])
    assert "| `stains` | `3` | spots of dirt on every image | `stained` |" in docs.page()
    with pytest.raises(UserError, match=r"data\.stains='x': must be of type int, not str"):
        configuration(ex, ["data=stained", "method=erm", "data.stains=x"])
    with pytest.raises(UserError, match=r"data\.stains is not a setting of digits; its settings: cache, "):
        configuration(ex, ["digits", "data.stains=5"])


def test_the_page_of_settings_is_what_is_declared() -> None:
    """`python -m debiaslab.settings.docs > docs/settings.md` writes it."""
    assert (ROOT / "docs" / "settings.md").read_text() == docs.page()


def test_a_configuration_has_the_settings_of_its_data_set_alone() -> None:
    config = configuration(ex, ["colored_mnist"])
    assert set(config["data"]) == {"name", *setting_names(DATASETS["colored_mnist"])}


@pytest.mark.parametrize("name", DATASETS)
def test_settings_of_one_name_are_one(name: str) -> None:
    """Recorded runs are compared by the names of settings, whatever their data sets."""
    for setting_name, known in declared(DATASETS[name]).items():
        first = declarations()[f"data.{setting_name}"]
        assert (known.place, known.identity, known.label) == (first.place, first.identity, first.label)
        assert known.help


def test_what_leaves_a_result_as_it_is() -> None:
    assert without_effect_on_results() == {
        *("device", "train", "checkpoint", "resume", "log_dir", "checkpoint_seconds", "memory_gb", "workers"),
        *("cuda_graphs", "ranks", "decodability", "search", "trial", "objective"),
        *("data.root", "data.cache", "data.csv", "data.images", "data.features"),
        *("data.imagenet", "data.imagenet_a", "data.imagenet_c", "data.vgg16"),
    }


@pytest.mark.parametrize(
    ("data", "variant"),
    [
        ({"name": "corrupted_cifar10", "skew": 0.01, "severity": 4, "corruptions": "type0", "reverse": True},
         "corruptions type0, skew 0.01, severity 4, target and bias swapped"),
        ({"name": "colored_mnist", "skew": None, "severity": None, "arrays": "folder"}, "arrays folder"),
        ({"name": "biased_mnist", "rho": 0.997, "n_confusing": 9}, "rho 0.997"),
        ({"name": "celeba", "target_attribute": "Smiling", "bias_attribute": "Male"},
         "target_attribute Smiling, bias_attribute Male"),
        ({"name": "kinetics10", "frames": 8}, ""),
        ({"name": "of_another_version", "skew": 0.5}, "skew 0.5"),
    ],
)  # fmt: skip
def test_the_name_of_a_variant(data: dict[str, object], variant: str) -> None:
    assert variant_of(data) == variant
    assert variant_of(dict.fromkeys(FORMER) | data) == variant


@pytest.mark.parametrize(
    ("data", "percent"),
    [
        ({"name": "corrupted_cifar10", "skew": 0.005, "percent": None}, 0.5),
        ({"name": "cifar10c", "skew": None, "percent": 2}, 2),
        ({"name": "biased_mnist", "rho": 0.997}, 0.3),
        ({"name": "bar", "percent": 0}, 0),
        ({"name": "celeba"}, None),
        ({"name": "digits", "skew": "many"}, None),
    ],
)
def test_what_the_data_say_of_the_percentage(data: dict[str, object], percent: float | None) -> None:
    assert conflicting_percent(data) == percent


# ---- records made when every record had the settings of all data sets


def test_an_older_record_is_the_same_run(command: Command, tmp_path: Path) -> None:
    (folder,) = command("with", "digits", *SMOKE).runs
    before = FileStore(tmp_path / "runs").find(Query({}))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["data"] = dict.fromkeys(FORMER) | config["data"]
    path.write_text(json.dumps(config))
    os.utime(folder / "run.json")  # the index of the records looks at its time only
    store = FileStore(tmp_path / "runs")
    (record,) = store.find(Query({"data.name": "digits", "data.skew": 0.02, "data.frames": None}))
    assert record.config == before[0].config
    (job,) = jobs_of(read_study(["digits", *SMOKE]))
    assert settings_of(record.config) == settings_of(config) == job.settings
    assert store.find(Query({"data.frames": 8})) == []
    outcome = command("rerun", folder.name, data=False)
    assert outcome.code == 0, outcome.err
    assert "bit-identical" in outcome.out
    assert "settings that the record does not have" not in outcome.out
    assert set(json.loads((tmp_path / "runs" / record.id / "config.json").read_text())["data"]) >= FORMER


def test_a_data_set_that_this_version_does_not_know() -> None:
    assert {"skew", "percent", "frames"} <= set(data_declarations({"name": "of_another_version"}))


# ---- checks


def test_a_check_needs_no_command_line() -> None:
    config = configuration(ex, ["digits"])
    assert check(config).config is config
    with pytest.raises(UserError, match=r"data\.skew=7\.0: must be between 0 and 1"):
        check({**config, "data": {**config["data"], "skew": 7}})


@pytest.mark.parametrize("method", ["rubi", "learned_mixin"])
def test_a_hyper_parameter_younger_than_a_record(method: str) -> None:
    """Its value is the one that the run was made with, whoever compares the record, or resumes the run."""
    config = configuration(ex, ["digits", f"method={method}"])
    hparams = {name: value for name, value in config["method"]["hparams"].items() if name != "f_lambda_outer"}
    recorded = {**config, "method": {**config["method"], "hparams": hparams}}
    assert settings_of(recorded) == settings_of(config)
    assert as_recorded_now(recorded)["method"]["hparams"]["f_lambda_outer"] == 1.0
    assert earlier_values(config).keys() - earlier_values().keys() == {"method.hparams.f_lambda_outer"}


def test_a_data_setting_younger_than_a_record() -> None:
    """Records of its data set alone have it, as it was before."""
    custom = configuration(ex, ["custom", "data.csv=images.csv", "method=erm"])
    data = {name: value for name, value in custom["data"].items() if name != "inferred_bias"}
    recorded = {**custom, "data": data}
    assert settings_of(recorded) == settings_of(custom)
    assert as_recorded_now(recorded)["data"]["inferred_bias"] is False
    digits = configuration(ex, ["digits", "method=erm"])
    assert "data.inferred_bias" not in settings_of(digits)
    assert as_recorded_now(digits)["data"] == digits["data"]
