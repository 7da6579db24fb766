"""`main.py plots`: pictures of recorded runs, from files and from a real MongoDB."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.frames import groups_frame
from debiaslab.analysis.plots.curves import curves
from debiaslab.analysis.plots.decodability import decodability_frame
from debiaslab.analysis.plots.embeddings import features_of_test_images
from debiaslab.analysis.plots.groups import mean_groups
from debiaslab.analysis.plots.hardest import hardest_images
from debiaslab.analysis.plots.kinds import KINDS, PlotOptions
from debiaslab.analysis.plots.ratios import ratios_frame
from debiaslab.analysis.plots.run_groups import group_runs
from debiaslab.analysis.plots.weights import samples_frame
from debiaslab.analysis.query import EVERYTHING
from debiaslab.analysis.restored_run import RestoredRun, restore_run
from debiaslab.core.errors import UserError
from debiaslab.settings.setup import load_once
from tests.analysis.recorded import write_record
from tests.conftest import Command
from tests.datasets.own_images import SIZE, save_digits, split, target, write_csv
from tests.methods.building import build, short_setup

RUNS = (("denetdm", 1, "skewed2"), ("denetdm", 2, "skewed2"), ("lff_be", 1, "skewed2"), ("lff_be", 1, "skewed1"))


@pytest.mark.long
def test_every_kind_from_files_and_from_mongodb(command: Command, port: int, data_root: Path, tmp_path: Path) -> None:
    place = ("-m", f"localhost:{port}:plots")
    for method, seed, skew in RUNS:
        words = (skew, "smoke", f"method={method}", f"seed={seed}", "decodability=1")
        assert command(*place, "with", *words).code == 0
    own = ("projection=pca", f"data.root={data_root}")
    files = command("plots", "with", *own, "out=files", data=False)
    assert (files.code, files.err, files.runs) == (0, "", [])
    mongo = command(*place, "plots", "with", *own, "out=mongo", data=False)
    assert (mongo.code, mongo.err) == (0, "")
    pictures = {file.name: file.read_bytes() for file in (tmp_path / "files").iterdir()}
    assert pictures == {file.name: file.read_bytes() for file in (tmp_path / "mongo").iterdir()}
    assert [Path(line).name for line in files.out.splitlines()] == [Path(line).name for line in mongo.out.splitlines()]
    assert sorted(Path(line).name for line in files.out.splitlines()) == sorted(pictures)
    skews = [
        f"digits-skew-{skew}-severity-4-holdout-evaluated-on-500-images-of-each-split" for skew in ("0.02", "0.05")
    ]
    assert {f"curves-{name}.png" for name in skews} <= set(pictures)
    assert f"embeddings-{skews[0]}-denetdm-seed-1-last.png" in pictures
    assert {name.partition("-")[0] for name in pictures} == set(KINDS)
    check_contents(tmp_path / "runs", data_root)


def check_contents(folder: Path, data_root: Path) -> None:
    """Frames and figures of the runs against what is in their records."""
    records = FileStore(folder).find(EVERYTHING)
    cells = group_runs(records)
    runs = [{cell.row: len(cell.records) for cell in members} for members in cells.values()]
    assert runs == [{"denetdm": 2, "lff_be": 1}, {"lff_be": 1}]
    denetdm, lff_be = next(iter(cells.values()))
    last = [record.history().evaluations[-1] for record in denetdm.records]

    figure = curves({denetdm.data: [denetdm]}, None, "minmax", 2)[0].figure
    line = next(line for line in figure.axes[0].lines if line.get_label() == "target")
    unbiased = [record.result["last"]["test/unbiased"] for record in denetdm.records if record.result]
    assert line.get_ydata()[-1] == pytest.approx(50 * sum(unbiased))
    assert len(curves({denetdm.data: [denetdm]}, "separate", "std", 2)[0].figure.axes[0].lines) == 3

    probes = decodability_frame(denetdm.records)
    assert set(probes["branch"]) == {"shallow", "deep", "target"}
    assert probes["bias"].tolist()[-1] == last[1].diagnostics["decodability/bias/deep"]

    samples = samples_frame(lff_be.records[0])
    report = json.loads(lff_be.records[0].artifact("selection.json"))
    assert samples["kept"].to_numpy().nonzero()[0].tolist() == report["kept"]
    assert samples["conflicting"].sum() == 24
    assert {"target", "bias", "weight", "votes"} <= set(samples)

    frame = ratios_frame([cell for members in cells.values() for cell in members], "last", "test/unbiased")
    assert frame[["row", "percent", "n"]].to_numpy().tolist() == [
        ["denetdm", 2.0, 2],
        ["lff_be", 2.0, 1],
        ["lff_be", 5.0, 1],
    ]

    run = restore_run(denetdm.records[0], "last", {"data.root": str(data_root), "device": "cpu"})
    hardest = hardest_images(run, 500)
    counts = denetdm.records[0].history().counts(last[0], "test")
    conflicting = ~counts.aligned
    assert hardest.total == len(hardest.images) == counts.total[conflicting].sum() == 356
    assert hardest.total - hardest.wrong == counts.correct[conflicting].sum()
    assert (hardest.loss[:-1] >= hardest.loss[1:]).all()
    wrongly = sum(said != meant for said, meant in zip(hardest.predicted, hardest.target, strict=True))
    assert wrongly == hardest.wrong
    with pytest.raises(UserError, match="has kept no weights by rule=oracle_test_unbiased; use last or best_valid_unb"):
        restore_run(denetdm.records[0], "oracle_test_unbiased", {})
    selected = restore_run(denetdm.records[0], "best_valid_unbiased", {"data.root": str(data_root)})
    assert selected.facts["rule"] == "best_valid_unbiased"


def test_images_on_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "images").mkdir(parents=True)
    save_digits(tmp_path / "mine" / "images")
    header = "path,target,bias,split"
    csv = write_csv(tmp_path / "mine" / "mine.csv", header, lambda n: f"{target(n)},{n // 3 % 3},{split(n)}")
    data = ("custom", f"data.csv={csv}", f"data.image_size={SIZE}", "data.cache=cache", "memory_gb=0", "method=erm")
    assert command("with", *data, "smoke", "model=mlp").code == 0
    outcome = command("plots", "with", "custom", f"data.csv={csv}", "kind=hardest,embeddings", "projection=pca")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()) == 2
    csv.unlink()
    load_once.cache_clear()  # as in a process of its own
    missing = command("plots", "with", "kind=hardest", data=False)
    assert missing.code == 2
    assert "mine.csv" in missing.err
    assert missing.err.count("\n") == 1


def test_protocols_and_settings_never_share_a_line(tmp_path: Path) -> None:
    for seed, protocol in ((1, "published"), (2, "holdout")):
        write_record(tmp_path, seed=seed, data={"protocol": protocol})
    write_record(tmp_path, seed=1, hparams={"q": 0.5})
    write_record(tmp_path, seed=1, unbiased=0.9, start="2026-11-22T11:00:00")  # the first one again
    cells = group_runs(FileStore(tmp_path).find(EVERYTHING))
    assert {data: [(cell.row, len(cell.records)) for cell in members] for data, members in cells.items()} == {
        "colored_mnist, skew 0.005, severity 4, protocol holdout": [("erm (q 0.7)", 1)],
        "colored_mnist, skew 0.005, severity 4, protocol published": [("erm (q 0.5)", 1), ("erm (q 0.7)", 1)],
    }
    published = cells["colored_mnist, skew 0.005, severity 4, protocol published"][1]
    assert published.records[0].result is not None
    assert published.records[0].result["last"]["test/unbiased"] == 0.9


def test_published_points_and_rules_chosen_on_test_images(command: Command, tmp_path: Path) -> None:
    for skew in (0.005, 0.05):
        hparams = {"hand_over": "oracle_test_conflicting"}
        write_record(tmp_path / "runs", method="denetdm", data={"skew": skew}, hparams=hparams)
    cells = group_runs(FileStore(tmp_path / "runs").find(EVERYTHING))
    frame = ratios_frame([cell for members in cells.values() for cell in members], "last", "test/unbiased")
    assert frame["published"].tolist() == [74.72, 93.54]
    kinds = "kind=groups,ratios,curves"
    outcome = command("plots", "with", kinds, "rule=oracle_test_unbiased", "format=svg", data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()) == 5
    for line in outcome.out.splitlines():
        text = " ".join(re.sub("<[^>]*>", " ", (tmp_path / line).read_text()).split())
        assert "hand_over oracle_test_conflicting (chosen on test images)" in text
        if "curves" not in line:
            assert "rule: oracle_test_unbiased (chosen on test images)" in text
        if "ratios" in line:
            assert "Sreelatha et al. 2024 report means of 5 seeds; DeNetDM's weights were chosen on the test" in text


def test_means_over_seeds_are_those_of_the_predictions(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_record(tmp_path, seed=seed)
    frame = mean_groups(groups_frame(FileStore(tmp_path).find(EVERYTHING)).assign(row="erm"))
    assert frame[["target", "bias", "accuracy", "total", "n"]].to_numpy().tolist() == [
        [0, 0, 100, 4, 2],
        [0, 1, 50, 2, 2],
        [1, 0, 50, 2, 2],
        [1, 1, 50, 4, 2],
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["kind=curve"], "unknown kind of plot 'curve'; did you mean 'curves'?"),
        (["format=jpg"], "unknown format 'jpg'; did you mean 'png'? one of pdf, png, svg"),
        (["columns=3"], "unknown number of columns '3'; one of 1, 2"),
        (["band=iqr"], "unknown band 'iqr'; one of minmax, std"),
        (["projection=umap"], "unknown projection 'umap'; one of pca, tsne"),
        (["rule=best"], "unknown rule rule='best'"),
        (["kind=curves", "metric=foo"], "unknown metric 'foo'; one of test/accuracy"),
        (["kind=curves", "phase=distil"], "curves: no run has a phase 'distil'; one of train"),
        (["kind=ratios"], "ratios: needs complete runs on one data set with two bias ratios or more"),
        (["kind=weights"], "weights: no run has weights of its training images"),
        (["kind=decodability"], "decodability: no run has measured it: start runs with decodability=1"),
        (["kind=hardest"], "hardest: unknown setting 'method.hparams.q'; one of batch_size"),
        (["seed=7"], "no recorded run matches"),
        (["status=interrupted"], "none of these runs"),
    ],
)
def test_bad_questions(command: Command, tmp_path: Path, words: list[str], error: str) -> None:
    write_record(tmp_path / "runs")
    write_record(tmp_path / "runs", status="INTERRUPTED", data={"skew": 0.05}, run_id="stopped")
    (tmp_path / "runs" / "stopped" / "evaluations.jsonl").write_text("{")
    outcome = command("plots", "with", *words, data=False)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith(f"error: {error}")


def test_a_method_without_features_has_no_embeddings(data_root: Path) -> None:
    setup = short_setup("erm", data_root, 1)
    data = setup.load_data()
    method = build(setup, data)
    phase = replace(method.phases()[-1], features=lambda image: {})
    method.phases = lambda: [phase]  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"erm gives no features \(`Phase\.features`\)"):
        features_of_test_images(RestoredRun(setup, data, method, {}))


def test_what_is_left_out_is_told(command: Command, tmp_path: Path) -> None:
    write_record(tmp_path / "runs", seed=1)
    write_record(tmp_path / "runs", seed=2, status="INTERRUPTED")
    damaged = write_record(tmp_path / "runs", seed=3)
    (tmp_path / "runs" / damaged / "evaluations.jsonl").write_text("{")
    outcome = command("plots", data=False)
    assert outcome.code == 0
    told = outcome.err.splitlines()
    assert told[0].startswith("left out: 1 of 3 runs, which are not complete")
    assert told[1].startswith(f"left out: the evaluations of the run {damaged} are damaged")
    assert [line.split(": ")[1] for line in told[2:]] == [
        "weights",
        "ratios",
        "decodability",
        "embeddings",
        "hardest",
    ]
    assert [Path(line).name.partition("-")[0] for line in outcome.out.splitlines()] == ["curves", "groups"]
    unfinished = command("plots", "with", "kind=curves", "status=interrupted", data=False)
    assert (unfinished.code, unfinished.err) == (0, "")


def test_settings_that_depend_on_the_ratio_are_told(tmp_path: Path) -> None:
    for skew, q in ((0.005, 0.7), (0.05, 0.8)):
        write_record(tmp_path, data={"skew": skew}, hparams={"q": q})
    picture = next(KINDS["ratios"](group_runs(FileStore(tmp_path).find(EVERYTHING)), PlotOptions(print)))
    assert "erm: q depend on the ratio" in picture.figure.get_suptitle()
    assert picture.name == "ratios-colored-mnist-severity-4-published-test-unbiased-last"
