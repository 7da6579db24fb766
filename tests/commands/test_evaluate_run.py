"""`evaluate RUN`: the settings come from the record, and what is typed stands above them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from debiaslab.settings.weights import INPUT
from debiaslab.training.checkpoint import read_checkpoint, write_checkpoint
from tests.conftest import Command, make_once, only_run
from tests.datasets.own_images import SIZE, bias, save_digits, split, target, write_csv

WORDS = ("digits", "method=lff", "epochs=2", "data.skew=0.05", "evaluate_images=200")


def counts(record: Path) -> dict[str, Any]:
    """The last evaluation of a run: split -> branch -> correct images of each group."""
    last: dict[str, dict[str, Any]] = json.loads((record / "evaluations.jsonl").read_text().splitlines()[-1])
    return last["correct"]


@pytest.fixture
def run(command: Command, tmp_path: Path, first_copy: Path) -> Path:
    make_once(first_copy, tmp_path, lambda: command("with", *WORDS))
    return only_run(tmp_path)


def test_the_run_is_enough(command: Command, run: Path) -> None:
    """By folder, id and the beginning of it, which is no number here; all of them like the words of before."""
    name = "2e5"
    run = Path(shutil.move(run, run.parent / f"{name}-first"))
    for words in ([f"runs/{run.name}"], [run.name], [name]):
        outcome = command("evaluate", *words, "with", "rule=last", data=False)
        assert outcome.code == 0, outcome.err
        assert counts(outcome.runs[0]) == counts(run)
        config = outcome.record("config.json")
        assert (config["method"]["name"], config["data"]["skew"]) == ("lff", 0.05)
        assert config["checkpoint"] == f"runs/{run.name}/last.safetensors"
        assert outcome.record("info.json")["evaluates"] == run.name
    before = command("evaluate", "with", *WORDS, f"checkpoint=runs/{run.name}")
    assert counts(before.runs[0]) == counts(run)


def test_weights_are_those_of_the_runs_rule(command: Command, run: Path) -> None:
    outcome = command("evaluate", str(run), data=False)
    assert "best_valid_unbiased, train epoch" in outcome.out
    assert outcome.record("config.json")["checkpoint"].endswith("selected.safetensors")
    expected = json.loads((run / "run.json").read_text())["result"]["best_valid_unbiased"]
    found = outcome.record("run.json")["result"]["best_valid_unbiased"]
    assert {name: found[name] for name in found if "/" in name} == {n: expected[n] for n in expected if "/" in n}


def test_words_override(command: Command, run: Path) -> None:
    outcome = command("evaluate", str(run), "with", "severity1", "evaluate_images=100", "log_dir=others", data=False)
    assert outcome.code == 0, outcome.err
    config = outcome.record("config.json")
    assert (config["data"]["severity"], config["data"]["skew"], config["evaluate_images"]) == (1, 0.05, 100)
    assert outcome.runs[0].parent.name == "others"
    assert f"these are not the data of the run {run.name}" in outcome.out


RESUME = "python main.py resume"


def test_mistakes_leave_no_record(command: Command, run: Path) -> None:
    other = shutil.copytree(run, run.parent / f"{run.name}x")
    evaluation = command("evaluate", str(run), data=False).runs[0]
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(record | {"status": "INTERRUPTED"}))
    mistakes = {
        (run.name[:8],): "begins the ids of 3 recorded runs",
        ("nothing",): "no recorded run 'nothing'",
        (run.name, other.name): "which run? Write `python main.py evaluate RUN`",
        (str(run), "with", "method=erm"): "is of method=lff, and its weights fit no other",
        (str(run), "with", f"checkpoint={run}"): "give one of them",
        (str(run), "with", "rule=best_valid_accuracy"): "kept the weights selected by best_valid_unbiased, last",
        (str(run), "with", "data.skw=0.1"): "unknown setting 'data.skw'; did you mean 'skew'?",
        (str(run), "with", "model.hparams.widths=[9,9]"): "is of a run with model.hparams.widths=",
        (other.name,): f"only complete runs have weights to evaluate; to resume it, {RESUME} runs/{other.name}",
        (str(evaluation),): "evaluated the weights of another run; give that one",
        (): "nothing to evaluate",
    }
    for words, found in mistakes.items():
        outcome = command("evaluate", *words, data=False)
        assert outcome.code == 2, words
        assert found in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
        assert outcome.runs == []


# ---- images of one's own


@pytest.fixture
def own(command: Command, tmp_path: Path) -> Path:
    """A run on images of one's own, and the CSV `mine/all.csv` of them."""
    (tmp_path / "mine" / "images").mkdir(parents=True)
    save_digits(tmp_path / "mine" / "images")
    csv = write_csv(
        tmp_path / "mine" / "all.csv", "path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{split(n)}"
    )
    words = (f"data.csv={csv}", f"data.image_size={SIZE}", "method=erm", "model=mlp", "epochs=2", "data.augment=none")
    outcome = command("with", "custom", *words)
    assert outcome.code == 0, outcome.err
    return outcome.runs[0]


def write_rows(csv: Path, header: str, rows: list[str]) -> str:
    csv.write_text("\n".join([header, *rows]) + "\n")
    return f"data.csv={csv}"


def test_a_csv_of_test_images_alone(command: Command, own: Path) -> None:
    """In any order, without a class of the run, and without bias labels."""
    numbers = [number for number in range(120) if split(number) == "test" and target(number) != "eight"]
    rows = [f"images/{number}.png,{target(number)}" for number in reversed(numbers)]
    word = write_rows(Path("mine/test.csv"), "path,target", rows)
    outcome = command("evaluate", str(own), "with", "rule=last", word, data=False)
    assert outcome.code == 0, outcome.err
    of_class = [sum(row) for row in counts(own)["test"]["classifier"]]
    assert [sum(row) for row in counts(outcome.runs[0])["test"]["classifier"]] == [0, *of_class[1:]]
    assert outcome.record("info.json")["data"]["sizes"] == {"train": 0, "test": len(numbers)}


def test_a_csv_in_place_of_class_folders_and_back(command: Command, own: Path) -> None:
    """What is typed replaces the CSV, or the folder, of the run."""
    for number in range(120):
        if split(number) == "test":
            place = Path("folders") / target(number)
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(f"mine/images/{number}.png", place)
    outcome = command("evaluate", str(own), "with", "rule=last", "data.images=folders", data=False)
    assert outcome.code == 0, outcome.err
    by_class = [sum(row) for row in counts(own)["test"]["classifier"]]
    assert [sum(row) for row in counts(outcome.runs[0])["test"]["classifier"]] == by_class
    words = ("data.images=folders", f"data.image_size={SIZE}", "method=erm", "model=mlp", "num_steps=2")
    run = command("with", "custom", *words).runs[0]
    outcome = command("evaluate", str(run), "with", "data.csv=mine/all.csv", data=False)
    assert outcome.code == 0, outcome.err
    assert outcome.record("config.json")["data"]["images"] is None


def test_bias_labels_of_test_images_mean_what_they_did(command: Command, own: Path) -> None:
    """Blue is in no row; grey is new, and conflicts with every class."""
    numbers = [number for number in range(120) if split(number) == "test" and bias(number) != "blue"]
    rows = [f"images/{n}.png,{target(n)},{bias(n)},test" for n in numbers]
    extra = next(number for number in range(120) if split(number) == "train")
    rows += [f"images/{extra}.png,{target(extra)},grey,test", f"images/{extra + 1}.png,{target(extra + 1)},red,train"]
    word = write_rows(Path("mine/test.csv"), "path,target,bias,split", rows)
    outcome = command("evaluate", str(own), "with", "rule=last", word, data=False)
    assert outcome.code == 0, outcome.err
    assert "its 1 training images are left out" in outcome.out
    expected, found = (counts(record)["test"]["classifier"] for record in (own, outcome.runs[0]))
    assert [row[1:3] for row in found] == [row[1:3] for row in expected]  # green and red, after blue
    history = [json.loads(line) for line in (outcome.runs[0] / "evaluations.jsonl").read_text().splitlines()]
    assert [row[3] for row in history[0]["total"]["test"]] == [1, 0, 0]
    assert [row[3] for row in history[0]["aligned"]] == [False] * 3


@pytest.mark.parametrize("earlier", [False, True])
def test_images_made_in_another_way_are_refused(earlier: bool, command: Command, own: Path) -> None:
    """By what the weights say of it, or by the settings of a run whose weights do not."""
    if earlier:
        path = own / "selected.safetensors"
        tensors, facts = read_checkpoint(path)
        write_checkpoint(path, tensors, {name: value for name, value in facts.items() if name != INPUT})
    assert command("evaluate", str(own), data=False).code == 0
    for word, found in (
        ("data.image_size=16", "is for images of the shape [3, 12, 12], not [3, 16, 16]; give the settings of its run"),
        ("data.normalize=none", "is for images made by normalize=[[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], not"),
    ):
        outcome = command("evaluate", str(own), "with", word, data=False)
        assert outcome.code == 2
        assert found in outcome.err
        assert outcome.runs == []


def test_the_csv_of_the_run_in_another_place_is_split_as_it_was(command: Command, own: Path) -> None:
    whole = write_csv(Path("mine/whole.csv"), "path,target,bias", lambda n: f"{target(n)},{bias(n)}")
    words = (f"data.csv={whole}", f"data.image_size={SIZE}", "method=erm", "model=mlp", "epochs=1", "data.augment=none")
    run = command("with", "custom", *words).runs[0]
    shutil.move("mine", "moved")
    outcome = command("evaluate", str(run), "with", "data.csv=moved/whole.csv", "rule=last", data=False)
    assert outcome.code == 0, outcome.err
    assert counts(outcome.runs[0]) == counts(run)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (["images/0.png,fiv"], "test.csv, line 2: target 'fiv' is no class of the weights; did you mean 'five'?"),
        (["images/0.png,1"], "target '1' is no class of the weights; one of eight, five, three"),
        (["images/none.png,five"], "there is no image file"),
    ],
)
def test_a_csv_that_cannot_be_evaluated(rows: list[str], found: str, command: Command, own: Path) -> None:
    outcome = command("evaluate", str(own), "with", write_rows(Path("mine/test.csv"), "path,target", rows), data=False)
    assert outcome.code == 2
    assert found in outcome.err
    assert outcome.runs == []
