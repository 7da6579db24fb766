"""Files that the authors' code has written, where the environment variable DEBIAS_CHECKPOINTS names their folder."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from debiaslab.core.settings import nest
from debiaslab.methods import METHODS, Method, Task
from debiaslab.models import Networks, architecture
from debiaslab.released import Released, load_released, read_released
from debiaslab.released.formats import READERS
from debiaslab.released.weights import rename_tensors

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
PLAIN, HALVES = ((0.0,) * 3, (1.0,) * 3), ((0.5,) * 3, (0.5,) * 3)
DENETDM_BRANCHES = {"shallow": "debias", "target": "debias", "deep": "bias", "product": "poe"}

# file or folder -> images, their mean and deviation, and the logits by the authors' code
FILES: dict[str, tuple[str, Any, str]] = {
    "denetdm/colored_mnist/debiased_model_stage1.th": ("colored_mnist", PLAIN, "denetdm/colored_mnist/stage1"),
    "denetdm/colored_mnist/debiased_model_stage2.th": ("colored_mnist", PLAIN, "denetdm/colored_mnist/stage2"),
    "denetdm/colored_mnist": ("colored_mnist", PLAIN, "denetdm/colored_mnist/stage2"),
    "denetdm/corrupted_cifar10": ("random32", CIFAR10, "denetdm/corrupted_cifar10/stage1"),
    "lff/model.th": ("colored_mnist", PLAIN, "lff"),
    "lff/model_resnet20.th": ("random32", CIFAR10, "lff/resnet20"),
    "disent/cmnist": ("colored_mnist", PLAIN, "disent/cmnist"),
    "disent_vanilla/cmnist": ("colored_mnist", PLAIN, "disent_vanilla/cmnist"),
    "lff_be/cmnist": ("colored_mnist", PLAIN, "lff_be/cmnist"),
    "disent_be/cmnist": ("colored_mnist", PLAIN, "disent_be/cmnist"),
    "rebias/biased_mnist": ("biased_mnist", HALVES, "rebias/biased_mnist"),
    "end/biased_mnist": ("biased_mnist_end", HALVES, "end/biased_mnist"),
    "variants/denetdm_stage2_cuda.th": ("colored_mnist", PLAIN, "denetdm/colored_mnist/stage2"),
    "variants/lff_model_cuda_torch14_format.th": ("colored_mnist", PLAIN, "lff"),
}
# of the 1,000 images of colored_mnist_test_1000.npz, how many each branch has right
CORRECT = {
    "denetdm/colored_mnist/debiased_model_stage1.th": {"shallow": 446, "deep": 177, "product": 397},
    "denetdm/colored_mnist/debiased_model_stage2.th": {"target": 454, "deep": 211, "product": 399},
    "lff/model.th": {"debiased": 166},
    "disent/cmnist": {"debiased": 219, "biased": 215},
    "disent_vanilla/cmnist": {"classifier": 110},
    "lff_be/cmnist": {"debiased": 215, "biased": 348},
    "disent_be/cmnist": {"debiased": 161, "biased": 104},
}


@pytest.fixture
def folder() -> Path:
    name = os.environ.get("DEBIAS_CHECKPOINTS")
    if name is None:
        pytest.skip("DEBIAS_CHECKPOINTS names no folder of files that the authors' code has written")
    return Path(name)


def sample(folder: Path, name: str) -> Released:
    if not (folder / name).exists():
        pytest.skip(f"no {name} in {folder}")
    return read_released(folder / name)


def loaded(released: Released, shape: tuple[int, ...]) -> Method:
    settings = nest({"method.hparams": {}, "model.hparams": {}, **released.settings})
    networks = Networks(architecture(settings["model"]["name"], settings["model"]["hparams"]), shape, 10, 0)
    cls = METHODS[released.method]
    task = Task(10, torch.zeros(4, dtype=torch.int64), 0)
    method = cls(cls.Config(**settings["method"]["hparams"]), networks, task).eval()
    load_released(released, method, 10)
    return method


def as_input(images: Any, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]


@torch.no_grad()
@pytest.mark.parametrize("name", FILES)
def test_logits(name: str, folder: Path) -> None:
    images, statistics, key = FILES[name]
    released, expected = sample(folder, name), np.load(folder / "expected_logits.npz")
    image = as_input(expected[f"images/{images}"], *statistics)
    logits = loaded(released, tuple(image.shape[1:])).phases()[-1].logits(image)
    for branch in released.branches:
        theirs = torch.from_numpy(expected[f"{key}/{DENETDM_BRANCHES.get(branch, branch)}"])
        assert (logits[branch] - theirs).abs().max() <= 1e-5 * theirs.abs().max(), branch


@torch.no_grad()
@pytest.mark.parametrize("name", CORRECT)
def test_accuracies(name: str, folder: Path) -> None:
    released, data = sample(folder, name), np.load(folder / "colored_mnist_test_1000.npz")
    image, target = as_input(data["images"], *PLAIN), torch.from_numpy(data["attrs"])[:, 0]
    logits = loaded(released, tuple(image.shape[1:])).phases()[-1].logits(image)
    found = {branch: int((logits[branch].argmax(dim=1) == target).sum()) for branch in released.branches}
    assert found == {branch: CORRECT[name][branch] for branch in found}


def test_names(folder: Path) -> None:
    """Every name of the table: `### title, file name` above rows of their name, shape and our name."""
    text = (folder / "mapping_tables.md").read_text()
    tables = re.findall(r"^### (.*?)\n\nInside the file: (.*?)\n\n.*?\n.*?\n(.*?)\n(?=\n|\Z)", text + "\n", re.M | re.S)
    assert len(tables) == len(re.findall(r"^### ", text, re.M)) > 20
    for title, inside, rows in tables:
        names = {theirs: ours for theirs, _, ours in (row.strip("| ").split(" | ") for row in rows.splitlines())}
        shapes = dict(re.findall(r"^\| (\S+) \| \((.*?)\) \|", rows, re.M))
        state = {
            name: torch.empty(
                [int(size) for size in re.findall(r"\d+", shape)],
                dtype=torch.int64 if name.endswith("num_batches_tracked") else None,
                device="meta",
            )
            for name, shape in shapes.items()
        }
        wrapped: Any = state
        for key in re.findall(r"'(\w+)'", inside)[:1]:
            wrapped = {key: state} if key != "g_nets" else {"f_net": state, "g_nets": [state]}
        file = next(iter(re.findall(r"\w+\.(?:th|pth|pt)", title)))
        pieces = next(found for read in READERS if (found := read(Path(file), wrapped)))
        pieces = pieces[1:] if "g_nets" in inside else pieces
        expected = {ours: shapes[theirs] for theirs, ours in names.items() if not ours.startswith("(")}
        matches = [
            {
                ours: ", ".join(map(str, tensor.shape)) + ("," if tensor.dim() == 1 else "")
                for piece in pieces
                for form in piece.formats
                if form.method == method
                for ours, tensor in rename_tensors(piece, form.parts[piece.part]).items()
            }
            for method in {form.method for piece in pieces for form in piece.formats}
        ]
        assert expected in matches, title
