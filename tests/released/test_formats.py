"""What the authors' code saves predicts the same after it has been read: every format, every network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from debiaslab.core.settings import nest
from debiaslab.methods import Method
from debiaslab.released import load_released, read_released
from tests.released.authors import CLASSES, built, network, of_end, of_rebias, prefixed, with_company

DIGITS, SMALL, PHOTOGRAPHS, CLIPS = (3, 6, 6), (3, 32, 32), (3, 48, 48), (3, 4, 32, 32)
LFF_MLP = {"widths": (9, 9, 9), "input_scale": 1 / 255}
DISENT_MLP = {"widths": (9, 9, 16), "input_scale": 1 / 255}
CONV = {"widths": (4, 6, 8), "f_kernel": 5, "g_kernel": 1}


class Case(NamedTuple):
    """What is saved of a method: `files` gives the content of each file by name."""

    method: str
    model: str
    model_hparams: dict[str, Any]
    shape: tuple[int, ...]
    files: Callable[[Method], dict[str, Any]]
    branches: tuple[str, ...]
    hparams: dict[str, Any] = {}


def lff(kind: str, head: str, place: str = "debiased") -> Callable[[Method], dict[str, Any]]:
    return lambda m: {"model.th": with_company(network(m, kind, f"{place}.encoder", f"{place}.head", head), m)}


def lff_be(kind: str, head: str, **names: str) -> Callable[[Method], dict[str, Any]]:
    extra = {f"proj.{n}.{end}": torch.ones(2) for n in (0, 2) for end in ("weight", "bias")} if kind == "mlp" else {}
    return lambda m: {
        f"best_model_{end}.th": with_company(
            network(m, kind, f"inner.{name}.encoder", f"inner.{name}.head", head) | extra, m
        )
        for end, name in names.items()
    }


def disent(kind: str, first: str, place: str = "") -> Callable[[Method], dict[str, Any]]:
    names = {first: "intrinsic", "b": "bias"}
    return lambda m: {
        f"best_model_{end}.th": with_company(network(m, kind, f"{place}{name}_encoder", f"{place}{name}_head"), m)
        for end, name in names.items()
    }


def denetdm(*kinds: str) -> Callable[[Method], dict[str, Any]]:
    """The first stage's shallow and deep kind, or the second's target and deep kind, under names of no meaning."""

    def content(method: Method, debias: str, bias: str) -> dict[str, Tensor]:
        target = debias in ("target mlp", "projected", "resnet18")
        encoders = ("target", "target_deep", "target_head") if target else ("shallow", "deep", "head")
        branch = network(method, debias, encoders[0], None)
        backbone = prefixed("debias_backbone.", branch) if debias == "projected" else {}
        head = network(method, "", "no encoder", encoders[2], "classifier")
        deep = network(method, bias, encoders[1], None)
        return prefixed("bias_branch.", deep) | backbone | prefixed("debias_branch.", branch) | head

    stages = [kinds[:2]] if len(kinds) == 2 else [kinds[:2], kinds[2:]]
    return lambda m: {
        f"{len(stages) - number}.pt": content(m, debias, bias) for number, (debias, bias) in enumerate(stages)
    }


def rebias(f: str, g: str, head: str = "fc", **options: Any) -> Callable[[Method], dict[str, Any]]:
    return lambda m: {
        "best.pth": of_rebias(
            network(m, f, "f.encoder", "f.head", head), network(m, g, "g.encoder", "g.head", head), **options
        )
    }


STAGE_1, STAGE_2 = ("shallow", "deep", "product"), ("target", "deep", "product")
ONE_STAGE = {"hand_over": None}
IN_CIFAR = {"shallow": "conv3", "deep": "resnet20", "width": 64}
MLPS = {"width": 7, "shallow": 2, "deep": 4, "target": 4}
BOTH, PAIR = ("debiased", "biased"), ("target", "biased")
CASES = {
    "lff": Case("lff", "mlp", LFF_MLP, DIGITS, lff("mlp", "classifier"), ("debiased",)),
    "lff-resnet20": Case("lff", "resnet20", {}, SMALL, lff("resnet20", "linear"), ("debiased",)),
    "vanilla": Case("erm", "mlp", DISENT_MLP, DIGITS, lff("mlp", "classifier", "classifier"), ("classifier",)),
    "disent": Case("disent", "mlp", DISENT_MLP, DIGITS, disent("mlp", "l"), BOTH),
    "disent-resnet18": Case("disent", "resnet18", {}, SMALL, disent("resnet18", "l"), BOTH),
    "disent_be": Case("disent_be", "mlp", DISENT_MLP, DIGITS, disent("mlp", "d", "inner."), BOTH),
    "lff_be": Case("lff_be", "mlp", DISENT_MLP, DIGITS, lff_be("mlp", "classifier", d="debiased", b="biased"), BOTH),
    "lff_be-d": Case("lff_be", "mlp", DISENT_MLP, DIGITS, lff_be("mlp", "classifier", d="debiased"), BOTH[:1]),
    "lff_be-b": Case("lff_be", "mlp", DISENT_MLP, DIGITS, lff_be("mlp", "classifier", b="biased"), BOTH[1:]),
    "lff_be-resnet18": Case("lff_be", "resnet18", {}, SMALL, lff_be("resnet18", "fc", d="debiased", b="biased"), BOTH),
    "denetdm-1": Case("denetdm", "mlp_branches", MLPS, DIGITS, denetdm("shallow mlp", "deep mlp"), STAGE_1, ONE_STAGE),
    "denetdm-2": Case("denetdm", "mlp_branches", MLPS, DIGITS, denetdm("target mlp", "deep mlp"), STAGE_2),
    "denetdm-both": Case(
        "denetdm", "mlp_branches", MLPS, DIGITS, denetdm("shallow mlp", "deep mlp", "target mlp", "deep mlp"), STAGE_2
    ),
    "denetdm-cifar-1": Case(
        "denetdm", "conv_branches", IN_CIFAR, SMALL, denetdm("conv3", "resnet20"), STAGE_1, ONE_STAGE
    ),
    "denetdm-cifar-2": Case("denetdm", "conv_branches", IN_CIFAR, SMALL, denetdm("projected", "resnet20"), STAGE_2),
    "denetdm-bffhq-1": Case(
        "denetdm", "conv_branches", {}, PHOTOGRAPHS, denetdm("conv4", "resnet18"), STAGE_1, ONE_STAGE
    ),
    "denetdm-bffhq-2": Case("denetdm", "conv_branches", {}, PHOTOGRAPHS, denetdm("resnet18", "resnet18"), STAGE_2),
    "rebias": Case("rebias", "simple_conv", CONV, DIGITS, rebias("simple_conv", "simple_conv"), PAIR),
    "rubi": Case("rubi", "simple_conv", CONV, DIGITS, rebias("simple_conv", "simple_conv", criterion="RUBi"), PAIR),
    "learned_mixin": Case(
        "learned_mixin",
        "simple_conv",
        CONV,
        DIGITS,
        rebias("simple_conv", "simple_conv", criterion="LearnedMixin"),
        PAIR,
    ),
    "vanilla_biased": Case(
        "vanilla_biased", "simple_conv", CONV, DIGITS, rebias("simple_conv", "simple_conv", weight=0), PAIR
    ),
    "rebias-imagenet": Case("rebias", "resnet18_bagnet18", {}, SMALL, rebias("resnet18", "bagnet18"), PAIR),
    "rebias-kinetics": Case(
        "rebias", "resnet18_3d", {"width": 4}, CLIPS, rebias("resnet18_3d", "resnet18_3d", "head.projection"), PAIR
    ),
    "end": Case(
        "end",
        "simple_conv",
        {**CONV, "last_activation": "tanh"},
        DIGITS,
        lambda m: {"model.pt": of_end(network(m, "simple_conv", "encoder", "head"))},
        ("classifier",),
    ),
}


@torch.no_grad()
def require_same_predictions(path: Path, case: Case, source: Method) -> None:
    """Read without being told the method, into networks that are built by the settings of the files alone."""
    released = read_released(path)
    assert (released.method, released.branches) == (case.method, case.branches)
    settings = nest({"method.hparams": {}, "model.hparams": {}, **released.settings})
    sizes = settings["model"]["hparams"]
    if "shallow" not in sizes and sizes.get("deep") == "resnet20":
        sizes["shallow"] = "conv3"  # of the recipe: the second stage does not show it
    assert settings["model"]["name"] == case.model
    target = built(released.method, case.model, case.shape, 2, settings["method"]["hparams"], sizes)
    load_released(released, target, CLASSES)
    image = torch.rand(2, *case.shape, generator=torch.Generator().manual_seed(5))
    expected, found = (method.phases()[-1].logits(image) for method in (source, target))
    assert next(iter(found)) == case.branches[0] or case.branches == ("biased",)
    for branch in case.branches:
        torch.testing.assert_close(found[branch], expected[branch], rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_read(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = built(case.method, case.model, case.shape, 1, case.hparams, case.model_hparams)
    files = case.files(source)
    for file, content in files.items():
        torch.save(content, tmp_path / file)
    require_same_predictions(tmp_path if len(files) > 1 else tmp_path / next(iter(files)), case, source)


@pytest.mark.parametrize("name", ["lff", "denetdm-1", "rebias", "end"])
def test_read_the_format_before_torch_1_6_and_from_a_folder(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = built(case.method, case.model, case.shape, 1, case.hparams, case.model_hparams)
    for content in case.files(source).values():
        torch.save(content, tmp_path / "any name", _use_new_zipfile_serialization=False)
    (tmp_path / "log.txt").write_text("not a checkpoint")
    torch.save({"valid/attrwise_accs": torch.zeros(2, 2)}, tmp_path / "result.th")  # LfF's, beside the weights
    require_same_predictions(tmp_path, case, source)
