"""Shared pieces of the tests: the digits data, and the command line called in this process."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from debiaslab import main
from debiaslab.core.mongo import MONGO_URL
from debiaslab.datasets import BiasedDataset, dataset_config
from debiaslab.recording.server import free_port, running_server
from debiaslab.training.device import choose_device

torch.set_num_threads(1)


@dataclass(frozen=True)
class Outcome:
    """What a command printed, its exit code, and the folders of the runs that it recorded."""

    code: int
    out: str
    err: str
    runs: list[Path]

    def record(self, name: str) -> Any:
        """A JSON file of the only run."""
        (folder,) = self.runs
        return json.loads((folder / name).read_text())


Command = Callable[..., Outcome]


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that is shared by all tests: the digits are built once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def digits(data_root: Path) -> BiasedDataset:
    return dataset_config({"name": "digits", "root": str(data_root)}).load()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real MongoDB server on this machine, empty at first."""
    number = free_port()
    with running_server(number, tmp_path_factory.mktemp("mongo")):
        yield number


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """The GPU, set up as a run has it; where there is none, the test is skipped."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU with CUDA")
    before = torch.get_deterministic_debug_mode()
    yield choose_device("cuda")
    torch.set_deterministic_debug_mode(before)


@pytest.fixture
def command(
    tmp_path: Path, data_root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Call the command line in this process, in an empty folder, with the shared data folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(MONGO_URL, raising=False)

    def call(*words: str, data: bool = True) -> Outcome:
        settings = [f"data.root={data_root}"] if data else []
        arguments = [*words, *(["with"] if settings and "with" not in words else []), *settings]
        before = set(tmp_path.glob("**/run.json"))
        capfd.readouterr()
        try:
            code = main.run(arguments)
        finally:
            os.environ.pop(MONGO_URL, None)  # -m has put it there
        out, err = capfd.readouterr()
        return Outcome(code, out, err, [file.parent for file in sorted(set(tmp_path.glob("**/run.json")) - before)])

    return call


@pytest.fixture(scope="module")
def first_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for `make_once`."""
    return tmp_path_factory.mktemp("first")


def make_once(first_copy: Path, folder: Path, make: Callable[[], object]) -> None:
    """Fill `folder` by `make`, or with a copy of what that has made for the first test of the module."""
    if any(first_copy.iterdir()):
        shutil.copytree(first_copy, folder, dirs_exist_ok=True)
    else:
        make()
        shutil.copytree(folder, first_copy, dirs_exist_ok=True)


def only_run(folder: Path) -> Path:
    """The folder of the only run that is recorded in `folder`/runs."""
    (file,) = folder.glob("runs/*/run.json")
    return file.parent
