import json
from pathlib import Path
from typing import Any

import pytest

from debiaslab.core.errors import UserError
from debiaslab.datasets.video_files import FoundVideos, find_videos, read_annotation

CLASSES = ("playing_piano", "shooting_goal_(soccer)")
HEADER = "label,youtube_id,time_start,time_end,split\n"


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def find(folder: Path, annotation: Path | None = None, *, subset: str = "train") -> FoundVideos:
    return find_videos(folder, CLASSES, annotation, (subset,))


def names(found: FoundVideos) -> list[list[str]]:
    return [[path.name for path in found.files[name]] for name in CLASSES]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "train"
    touch(
        folder / "playing piano" / "b_000000_000010.mp4",
        folder / "playing piano" / "a_000001_000011.MKV",
        folder / "playing piano" / ".hidden.mp4",
        folder / "playing piano" / "a.mp4.part",
        folder / "shooting_goal_(soccer)" / "c.mp4.webm",
        folder / "archery" / "d_000000_000010.mp4",
    )
    return folder


def csv_file(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "train.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return path


def test_folders_without_an_annotation(folder: Path) -> None:
    found = find(folder)
    assert names(found) == [["a_000001_000011.MKV", "b_000000_000010.mp4"], ["c.mp4.webm"]]
    assert found.missing is None
    assert found.unlisted == []


def test_folders_with_a_csv(folder: Path, tmp_path: Path) -> None:
    touch(folder / "playing_piano" / "e_000000_000010.mp4")
    annotation = csv_file(
        tmp_path,
        "playing piano,a,1,11,train",
        "playing piano,z,3,13,train",
        "playing piano,b,0,10,validate",
        "shooting goal (soccer),c,7,17,train",
        "archery,d,0,10,train",
    )
    found = find(folder, annotation)
    assert names(found) == [["a_000001_000011.MKV"], ["c.mp4.webm"]]
    assert found.missing == [f"{folder}/playing_piano/z_000003_000013"]
    assert [path.name for path in found.unlisted] == ["b_000000_000010.mp4", "e_000000_000010.mp4"]


def test_videos_without_folders_of_classes(tmp_path: Path) -> None:
    folder = tmp_path / "val"
    touch(folder / "a_000001_000011.mp4", folder / "c_000007_000017.mp4", folder / "d_000000_000010.mp4")
    annotation = csv_file(tmp_path, "playing piano,a,1,11,val", "shooting goal (soccer),c,7,17,val")
    found = find(folder, annotation, subset="val")
    assert names(found) == [["a_000001_000011.mp4"], ["c_000007_000017.mp4"]]
    assert (found.missing, found.unlisted) == ([], [])
    with pytest.raises(UserError, match=r"no video of the class playing_piano in .*/val; put them into"):
        find(folder)


def test_two_clips_of_one_youtube_video(folder: Path, tmp_path: Path) -> None:
    """A file that is named for the YouTube video alone could be either clip."""
    rows = ["playing piano,a,1,11,train", "shooting goal (soccer),c,7,17,train", "shooting goal (soccer),c,20,30,train"]
    with pytest.raises(UserError, match=r"no video of the class shooting_goal_\(soccer\) that .*train.csv lists"):
        find(folder, csv_file(tmp_path, *rows))


@pytest.mark.parametrize("wrapped", [True, False])
def test_json(tmp_path: Path, wrapped: bool) -> None:
    """As the authors of ReBias have it, and as DeepMind does."""

    def video(label: str | None, subset: str, segment: list[float]) -> dict[str, Any]:
        labels = {} if label is None else {"label": label}
        return {"subset": subset, "annotations": labels if wrapped else {**labels, "segment": segment}}

    ending = {"a-1_b": "_000001_000011", "c": "_000007_000017", "x": "_000000_000010", "y": "_000000_000010"}
    videos = {
        youtube_id + (ending[youtube_id] if wrapped else ""): entry
        for youtube_id, entry in {
            "a-1_b": video("playing_piano", "training", [1.0, 11.0]),
            "c": video("shooting goal (soccer)", "training", [7.0, 17.0]),
            "x": video("playing_piano", "validation", [0.0, 10.0]),
            "y": video(None, "testing", [0.0, 10.0]),
        }.items()
    }
    path = tmp_path / "kinetics-400.json"
    path.write_text(json.dumps({"labels": ["playing_piano"], "database": videos} if wrapped else videos))
    assert read_annotation(path, ("train", "training")) == {
        "playing_piano": {"a-1_b_000001_000011": "a-1_b"},
        "shooting_goal_(soccer)": {"c_000007_000017": "c"},
    }


def test_csv_without_subsets(tmp_path: Path) -> None:
    header = "label,youtube_id,time_start,time_end\n"
    path = csv_file(tmp_path, "playing piano,a,1.0,11.0", header="\ufeff" + header)
    assert read_annotation(path, ("train",)) == {"playing_piano": {"a_000001_000011": "a"}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", "/data/kinetics/a.mp4 0\n/data/kinetics/b.mp4 1\n"),  # as SlowFast has it
        ("train.csv", HEADER + "playing piano,a,one,11,train\n"),
        ("train.csv", HEADER + "playing piano,a\n"),
        ("train.csv", b"\xff\xfe\x00"),
        ("train.json", "[1, 2]"),
        ("train.json", "{broken"),
        ("train.json", '{"a": {"annotations": []}}'),
        ("train.json", '{"a": {"annotations": {"label": 3}}}'),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str | bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=rf"{name} is not an annotation of Kinetics: a CSV with the columns label,"):
        read_annotation(path, ("train",))


def test_a_video_that_is_listed_twice(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "playing piano,a,1,11,train", "playing piano,a,1,11,train")
    with pytest.raises(UserError, match=r"train\.csv lists a_000001_000011 twice for the class playing piano; remove"):
        read_annotation(path, ("train",))


def test_a_video_that_is_there_twice(folder: Path) -> None:
    touch(folder / "playing_piano" / "b_000000_000010.mkv")
    with pytest.raises(UserError, match=r"b_000000_000010\.mp4 and .*b_000000_000010\.mkv are the same video; remove"):
        find(folder)


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*/gone: No such file or directory"):
        find(tmp_path / "gone")
