"""`main.py export`: what TensorBoard will read, read back record by record."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from debiaslab.recording.server import free_port, running_server
from tests.analysis.recorded import write_record
from tests.conftest import Command


def events(path: Path) -> Iterator[Any]:
    """The events of a file: length, its checksum, content, its checksum."""
    content = path.read_bytes()
    while content:
        head, (length,) = content[:8], struct.unpack("<Q", content[:8])
        body, ends = content[12 : 12 + length], content[8:12] + content[12 + length : 16 + length]
        assert struct.unpack("<II", ends) == (masked(head), masked(body))
        yield Event.FromString(body)
        content = content[16 + length :]


def masked(content: bytes) -> int:
    checksum = int(crc32c(content))
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_events_are_what_was_recorded(command: Command, tmp_path: Path) -> None:
    (folder,) = command("with", "digits", "smoke", "method=denetdm").runs
    for _ in range(2):  # the second time replaces the first
        outcome = command("export", "with", "method=denetdm", "--out", "events", data=False)
        assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "events: 1 runs; to view them: tensorboard --logdir events\n"
    (path,) = (tmp_path / "events").rglob("*.*")
    assert path.parent.name == folder.name
    assert "tfevents" in path.name
    found = list(events(path))
    assert found[0].file_version == "brain.Event:2"
    values = [(event.step, value) for event in found for value in event.summary.value]
    scalars = {(value.tag, step): value.simple_value for step, value in values if value.HasField("simple_value")}
    recorded = json.loads((folder / "metrics.json").read_text())
    for name, series in recorded.items():
        for step, value in zip(series["steps"], series["values"], strict=True):
            assert scalars.pop((name, step)) == pytest.approx(value, rel=1e-6)
    result = json.loads((folder / "run.json").read_text())["result"]
    assert {name.split("/")[0] for name, _ in scalars} == set(result)
    for (name, step), value in scalars.items():
        rule, metric = name.split("/", 1)
        assert value == pytest.approx(result[rule][metric], rel=1e-6)
        assert step == result[rule]["step"]
    pictures = {value.tag: value.image.encoded_image_string for _, value in values if value.HasField("image")}
    assert set(pictures) == {"samples.png", "curves.png", "diagnostics.png"}
    assert all(content == (folder / name).read_bytes() for name, content in pictures.items())
    (start,) = (value for _, value in values if value.tag == "_hparams_/session_start_info")
    settings = HParamsPluginData.FromString(start.metadata.plugin_data.content).session_start_info.hparams
    assert settings["method.name"].string_value == "denetdm"
    assert settings["data.skew"].number_value == 0.02
    assert "data.root" not in settings


def test_files_and_mongodb_give_the_same_events(command: Command, tmp_path: Path) -> None:
    port = free_port()
    with running_server(port, tmp_path / "mongo"):
        command("-m", f"localhost:{port}:events", "with", "digits", "smoke", "method=erm")
        command("-m", f"localhost:{port}:events", "export", "with", "images=False", "out=mongodb", data=False)
    command("export", "with", "images=False", "out=files", data=False)
    found = []
    for name in ("mongodb", "files"):
        (path,) = (tmp_path / name).rglob("*tfevents*")
        summaries = [(event.step, str(value)) for event in events(path) for value in event.summary.value]
        found.append(sorted(summary for summary in summaries if "_hparams_" not in summary[1]))
    assert len(found[0]) > 20
    assert found[0] == found[1]


def test_runs_without_evaluations_are_left_out(command: Command, tmp_path: Path) -> None:
    good, bad = write_record(tmp_path / "runs"), write_record(tmp_path / "runs")
    (tmp_path / "runs" / bad / "evaluations.jsonl").unlink()
    outcome = command("export", data=False)
    assert (outcome.code, [path.name for path in (tmp_path / "tensorboard").iterdir()]) == (0, [good])
    assert outcome.err.startswith("left out: cannot read runs/")
    outcome = command("export", "with", f"id={bad}", data=False)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: nothing exported")
    (tmp_path / "file").write_text("")
    outcome = command("export", "--out", "file", data=False)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: cannot write file/")
