"""`main.py audit` on real digits, with and without a planted shortcut: what it finds and writes."""

import csv
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from debiaslab.auditing import verdict
from debiaslab.commands import audit
from debiaslab.datasets import dataset_config
from tests.conftest import Command, Outcome

COLORS = ((255, 60, 60), (60, 255, 60), (80, 80, 255))  # of the classes
CONFLICTING = 10  # one in this many images has another colour
SIZE = 14  # pixels


class Parser(HTMLParser):
    """The references, tags and text of a page whose elements are all closed properly."""

    WITHOUT_END = ("meta", "link", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [str(value) for name, value in attributes if name in ("src", "href")]
        self.tags.add(tag)
        if tag not in self.WITHOUT_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "audit.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def parts(folder: Path) -> list[str]:
    """Temporary files of incomplete writes."""
    return [path.name for path in folder.rglob("*.part")]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of the verdict learn what is easy, such as the colours of three digits, in fewer steps."""
    monkeypatch.setattr(verdict, "STEPS", 150)


def run_next(command: Command, outcome: Outcome) -> Outcome:
    """Type the command that an audit has printed, for a short training."""
    short = ("smoke", "method.hparams.batch_size=16")
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("next: python main.py ")]
    trained = command(*shlex.split(line.removeprefix("next: python main.py ")), *short, data=False)
    assert trained.code == 0, trained.err
    return trained


def color_digits(folder: Path, conflicting: bool) -> Path:
    """Write images of the digits 0, 1 and 2 in the colour of their class, and a CSV of them without bias labels.

    One in ten images has the colour of the next class if `conflicting`; otherwise, colours are independent of the
    class. The first two images are equal.
    """
    folder.mkdir()
    bunch, lines = load_digits(n_class=3), ["path,target,split"]
    for number, (image, label) in enumerate(zip(bunch.images, bunch.target.tolist(), strict=True)):
        count = number // 3
        shift = int(count % CONFLICTING == 0) if conflicting else count
        color = COLORS[(label + shift) % 3]
        pixels = (image[:, :, None] / 16 * numpy.array(color)).astype(numpy.uint8)
        name = f"scan{number:03}.png"
        Image.fromarray(pixels).resize((SIZE, SIZE)).save(folder / name)
        lines.append(f"{name},{('zero', 'one', 'two')[label]},{'test' if number % 6 == 5 else 'train'}")
    (folder / "scan001.png").write_bytes((folder / "scan000.png").read_bytes())
    lines[2] = lines[1].replace("scan000", "scan001")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder / "images.csv"


def test_a_planted_shortcut_and_its_conflicting_images_are_found(
    command: Command, tmp_path: Path, data_root: Path
) -> None:
    outcome = command("audit", "with", "digits", "data.skew=0.05", "--out", "found")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("shortcut found: ")
    assert "method=lff" in outcome.out.splitlines()[-1]
    assert outcome.runs == []

    train = dataset_config({"name": "digits", "root": str(data_root), "skew": 0.05}).load().train
    found = [row for row in rows(tmp_path / "found") if row["split"] == "train"]
    assert sorted(int(row["row"]) for row in found) == list(range(len(train)))
    order = [int(row["row"]) for row in found]
    conflicting = (train.target != train.bias)[order].numpy()
    scores = numpy.array([float(row["score"]) for row in found])
    assert (numpy.diff(scores) <= 0).all()
    assert average_precision_score(conflicting, scores) > 0.95  # measured: 0.98 to 1.00
    proposed = numpy.array([row["proposed"] == "1" for row in found])
    assert conflicting[proposed].mean() > 0.9  # measured: 0.98 to 1.00
    assert proposed[conflicting].mean() > 0.8  # measured: 0.90 to 0.93
    assert all((row["bias_inferred"] != row["target"]) == (row["proposed"] == "1") for row in found)
    assert all((row["cluster"] != "") == (row["proposed"] == "1") for row in found)
    verified = re.search(
        r"average precision of the score ([\d.]+); proposed images: precision ([\d.]+), recall ([\d.]+)", outcome.out
    )
    assert verified is not None
    assert float(verified[1]) == pytest.approx(average_precision_score(conflicting, scores), abs=2e-3)

    page = Parser((tmp_path / "found" / "audit.html").read_text(encoding="utf-8"))
    assert all(source.startswith("data:") for source in page.sources)
    assert any("hue in degrees" in text for text in page.text)
    sheets = list((tmp_path / "found" / "sheets").iterdir())
    assert {"class0-aligned.png", "class0-conflicting.png", "class0-cluster0.png"} <= {sheet.name for sheet in sheets}
    for sheet in sheets:
        with Image.open(sheet) as image:
            image.load()
    assert parts(tmp_path) == []
    run_next(command, outcome)


def test_no_shortcut_is_found_where_there_is_none(command: Command, tmp_path: Path) -> None:
    outcome = command("audit", "with", "digits", "data.skew=0.9")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("no shortcut found: ")
    assert {row["proposed"] for row in rows(tmp_path / "audit")} == {"0"}
    assert {row["bias_inferred"] for row in rows(tmp_path / "audit")} == {""}
    assert "no image is proposed" in outcome.out


@pytest.mark.usefixtures("quick")
def test_images_of_ones_own_get_inferred_bias_labels(command: Command, tmp_path: Path) -> None:
    color_digits(tmp_path / "scans", conflicting=True)
    words = ("custom", "data.csv=scans/images.csv", f"data.image_size={SIZE}")
    outcome = command("audit", "with", *words, "epochs=120")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("shortcut found: ")
    assert "verification" not in outcome.out
    found = {row["path"]: row for row in rows(tmp_path / "audit")}
    assert (tmp_path / "audit" / next(iter(found))).exists()
    twins = [found[f"../scans/scan{number:03}.png"]["duplicate"] for number in (0, 1)]
    assert twins == ["0", "0"]
    assert [row["path"] for row in found.values() if row["duplicate"]] == [
        path for path in found if path.endswith(("scan000.png", "scan001.png"))
    ]
    with (tmp_path / "audit" / "inferred.csv").open(newline="", encoding="utf-8") as file:
        inferred = list(csv.DictReader(file))
    labels = {row["path"]: row["bias_inferred"] for row in inferred}
    assert labels == {path: row["bias_inferred"] for path, row in found.items()}

    trained = run_next(command, outcome)
    assert "inferred by an audit" in trained.out
    (note,) = trained.record("info.json")["data"]["notes"]
    assert note == "bias labels: inferred by an audit (column bias_inferred), not known"
    (run,) = trained.runs
    for form in ("terminal", "markdown", "latex", "csv"):
        assert "inferred bias" in " ".join(command("results", "with", f"format={form}", data=False).out.split()), form
    assert "inferred bias" in " ".join(command("compare", str(run), str(run), data=False).out.split())
    assert command("report", data=False).code == 0
    assert "inferred bias" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")

    by_run = command("audit", "with", f"run={run}", "out=by_run", data=False)
    assert (by_run.code, by_run.err) == (0, "")
    assert "verification" not in by_run.out  # by bias labels that were inferred
    assert {row["path"] for row in rows(tmp_path / "by_run")} == found.keys() - {""}


@pytest.mark.usefixtures("quick")
def test_a_recorded_run_scores_by_its_biased_network(command: Command, tmp_path: Path, data_root: Path) -> None:
    trained = command("with", "digits", "data.skew=0.05", "method=lff", "num_steps=200")
    assert (trained.code, trained.err) == (0, "")
    (folder,) = trained.runs
    outcome = command("audit", "with", f"run={folder}", "out=found")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.runs == []
    train = dataset_config({"name": "digits", "root": str(data_root), "skew": 0.05}).load().train
    found = [row for row in rows(tmp_path / "found") if row["split"] == "train"]
    conflicting = (train.target != train.bias)[[int(row["row"]) for row in found]].numpy()
    assert average_precision_score(conflicting, [float(row["score"]) for row in found]) > 0.5  # by chance: 0.05
    run_next(command, outcome)

    outcome = command("audit", "with", f"run={folder}", "digits", data=False)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "remove digits" in outcome.err
    outcome = command("audit", "with", "run=nowhere", data=False)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)


@pytest.mark.usefixtures("quick")
def test_random_labels_are_no_shortcut_and_text_is_escaped(command: Command, tmp_path: Path) -> None:
    path = color_digits(tmp_path / "scans", conflicting=False)
    header, *lines = path.read_text().splitlines()
    names = numpy.random.default_rng(0).choice(["<b>one", "two & $sentence"], size=len(lines))
    mixed = [f"{line.split(',')[0]},{name},{line.split(',')[2]}" for line, name in zip(lines, names, strict=True)]
    path.write_text("\n".join([header, *mixed]) + "\n")
    outcome = command("audit", "with", "custom", f"data.csv={path}", f"data.image_size={SIZE}")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("no shortcut found: ")
    assert not (tmp_path / "audit" / "inferred.csv").exists()
    page = Parser((tmp_path / "audit" / "audit.html").read_text(encoding="utf-8"))
    assert "b" not in page.tags
    assert {"Class <b>one", "Class two & $sentence"} <= {*page.text}


@pytest.mark.usefixtures("quick")
def test_label_errors_are_suspected(command: Command, tmp_path: Path) -> None:
    """Of images with a bias column and names that HTML must escape."""
    path = color_digits(tmp_path / "scans", conflicting=False)
    header, *lines = path.read_text().splitlines()
    changed = {}
    for number, line in enumerate(lines):
        name, label, split = line.split(",")
        new_name = f"<i>&{name}"
        (path.parent / name).rename(path.parent / new_name)
        if number % 20 == 7:
            label = {"zero": "one", "one": "two", "two": "zero"}[label]
            changed[f"../scans/{new_name}"] = split
        lines[number] = f"{new_name},{label},{split},{('grey', 'red')[number % 2]}"
    path.write_text("\n".join([header + ",bias", *lines]) + "\n")
    outcome = command("audit", "with", "custom", f"data.csv={path}", f"data.image_size={SIZE}")
    assert (outcome.code, outcome.err) == (0, "")
    suspected = {row["path"] for row in rows(tmp_path / "audit") if row["label_error"] == "1"}
    mislabelled = {name for name, split in changed.items() if split == "train"}
    assert suspected <= mislabelled
    assert len(suspected) > len(mislabelled) / 2  # measured: 14 of 18
    page = Parser((tmp_path / "audit" / "audit.html").read_text(encoding="utf-8"))
    assert "i" not in page.tags
    assert any("<i>&scan" in text for text in page.text)


@pytest.mark.usefixtures("quick")
def test_a_handful_of_images_is_too_few_to_tell(command: Command, tmp_path: Path) -> None:
    """Halves of them do not even have an image of each class."""
    path = color_digits(tmp_path / "scans", conflicting=True)
    path.write_text("\n".join(path.read_text().splitlines()[:10]) + "\n")
    words = ("custom", f"data.csv={path}", f"data.image_size={SIZE}", "data.protocol=published", "epochs=50")
    outcome = command("audit", "with", *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert re.match(r"no shortcut found: only \d of 8 training images contradict", outcome.out), outcome.out
    assert len(rows(tmp_path / "audit")) == 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,target,split\na.png,0,train\nb.png,0,train\nc.png,0,test\n", "every target is 0; give at least two"),
        ("path,target,split\na.png,0,train\nb.png,1,train\n", "no image for the split test"),
        ("path,target,split\na.png,0,train\nd.png,1,train\nb.png,0,test\n", "there is no image file"),
        ("path,target,split\na.png,0,train\nnoise.png,1,train\nb.png,0,test\n", "is not a complete image"),
    ],
)
def test_images_that_cannot_be_audited(command: Command, tmp_path: Path, content: str, message: str) -> None:
    for name in "abc":
        Image.new("L", (SIZE, SIZE), ord(name)).save(tmp_path / f"{name}.png")
    (tmp_path / "noise.png").write_bytes(b"noise")
    (tmp_path / "x.csv").write_text(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    outcome = command("audit", "with", "custom", "data.csv=x.csv", "data.protocol=published")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert message in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("digits", "epoch=3"), "unknown setting 'epoch'"),
        (("digits", "epochs=0"), "epochs=0"),
        (("digit",), "unknown named configuration"),
        (("custom",), "data.csv=PATH"),
        (("custom", "data.csv=missing.csv"), "cannot read data.csv=missing.csv"),
        (("digits", "out=file"), "it is a file, not a folder"),
        (("digits", "out=."), "out=. contains other files; choose a new folder"),
        (("digits", "score=ecz"), "unknown score 'ecz'; did you mean 'ecs'?"),
        (("run=x", "score=gce"), "score=gce has no effect with run=x"),
        (("run=x", "epochs=3"), "epochs=3 has no effect with run=x"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    command: Command, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "file").write_text("mine")
    outcome = command("audit", "with", *words, data=bool(words))
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_an_interrupted_audit_leaves_nothing(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(audit, "collect_findings", interrupt)
    outcome = command("audit", "with", "digits", "epochs=1")
    assert outcome.code == 130
    assert outcome.err.startswith("interrupted")
    assert list(tmp_path.iterdir()) == []
