"""Weights to start from: read, checked, and put into the ResNet-18s that are meant to have them."""

import hashlib
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from debiaslab.core.errors import UserError
from debiaslab.core.vision import torchvision
from debiaslab.models import Networks, architecture
from debiaslab.models.library import LibraryEncoder, Published
from debiaslab.models.pretrained import PublishedWeights, published_state, require_weights
from debiaslab.models.pretrained import read_weights as read_into
from debiaslab.models.resnet import ResNetBody

State = dict[str, Tensor]


def resnet18() -> LibraryEncoder:
    return LibraryEncoder(ResNetBody("resnet18"), 512, Published("torchvision", "resnet18", ("fc.",)))


def read_weights(source: str) -> State:
    """The weights of `source` for a ResNet-18."""
    return read_into(source, resnet18())


@pytest.fixture(scope="session")
def torchvisions() -> nn.Module:
    """torchvision's network with random weights, and statistics as if it had been trained."""
    torch.manual_seed(3)
    network: nn.Module = torchvision("models").resnet18(weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 2)
    return network.eval()


@pytest.fixture
def file(torchvisions: nn.Module, tmp_path: Path) -> Path:
    torch.save(torchvisions.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_network_is_then_torchvisions(torchvisions: nn.Module, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save = torch.save if suffix == ".pth" else save_file
    save(torchvisions.state_dict(), path)
    networks = Networks(architecture("resnet18", {}), (3, 64, 64), 10, seed=1, weights=PublishedWeights(str(path)))
    encoder = networks.encoder("classifier").eval()
    features = nn.Sequential(*list(torchvisions.children())[:-1])
    image = torch.rand(4, 3, 64, 64)
    assert encoder(image).allclose(features(image).flatten(1), atol=1e-5)


def test_the_head_is_that_of_the_seed(file: Path) -> None:
    networks = [
        Networks(architecture("resnet18", {}), (3, 32, 32), 1000, 1, weights)
        for weights in (None, PublishedWeights(str(file)))
    ]
    random, pretrained = (network.classifier("f") for network in networks)
    assert random.head.weight.equal(pretrained.head.weight)
    assert not random.encoder.state_dict()["body.conv1.weight"].equal(
        pretrained.encoder.state_dict()["body.conv1.weight"]
    )


@pytest.mark.parametrize(
    ("model", "hparams", "expected"),
    [
        ("resnet18", {}, {"f": True, "biased": True}),
        ("resnet18_bagnet18", {}, {"f": True, "g": False}),
        ("conv_branches", {}, {"deep": False, "target": True, "shallow": False}),
        ("conv_branches", {"pretrained_roles": ["deep", "target"]}, {"deep": True, "target": True, "shallow": False}),
        ("conv_branches", {"deep": "resnet20", "width": 64}, {"deep": False, "target": True}),
    ],
)
def test_who_gets_them(file: Path, model: str, hparams: dict[str, Any], expected: dict[str, bool]) -> None:
    weights = read_weights(str(file))
    networks = Networks(architecture(model, hparams), (3, 48, 48), 2, seed=1, weights=PublishedWeights(str(file)))
    for role, gets in expected.items():
        bodies = [module for module in networks.encoder(role).modules() if isinstance(module, ResNetBody)]
        loaded = [body for body in bodies if body.state_dict()["conv1.weight"].equal(weights["conv1.weight"])]
        assert len(loaded) == gets, role


def test_counters_of_batches_may_be_missing(torchvisions: nn.Module, tmp_path: Path) -> None:
    """As in torchvision's own older files."""
    state = {name: value for name, value in torchvisions.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pth")
    ResNetBody("resnet18").load_state_dict(read_weights(str(tmp_path / "old.pth")))


def renamed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda state: renamed("module.", state),
        lambda state: renamed("backbone.", {name: value for name, value in state.items() if name[:3] != "fc."}),
        lambda state: {"state_dict": renamed("module.", state), "epoch": 3, "best": torch.tensor(1.0), "arch": "x"},
        lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}},
        lambda state: {"model": state, "ema": {name: value + 1 for name, value in state.items()}},
        lambda state: {
            "pytorch-lightning_version": "2.0",
            "state_dict": renamed("model.backbone.", state) | {"model.head.weight": torch.zeros(2, 512)},
        },
        lambda state: {name: value.double() for name, value in state.items()},
    ],
    ids=["module", "backbone", "nested", "optimizer", "ema", "lightning", "double"],
)
def test_weights_as_people_save_them(torchvisions: nn.Module, tmp_path: Path, change: Callable[[State], Any]) -> None:
    torch.save(change(torchvisions.state_dict()), tmp_path / "weights.pth")
    weights = read_weights(str(tmp_path / "weights.pth"))
    for name, value in torchvisions.state_dict().items():
        assert name.startswith("fc.") or weights[name].equal(value.float() if "num" not in name else value), name


def test_half_precision_becomes_single(torchvisions: nn.Module, tmp_path: Path) -> None:
    half = {name: value.half() for name, value in torchvisions.state_dict().items()}
    save_file(half, tmp_path / "weights.pth")  # what it is counts, not its name
    weights = read_weights(str(tmp_path / "weights.pth"))
    assert weights["conv1.weight"].equal(half["conv1.weight"].float())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n", "is a pointer of Git LFS, not the weights"),
        (b"\n<!DOCTYPE html><html>login</html>", "is a web page, not the weights; the download needs another"),
    ],
)
def test_what_is_often_taken_for_weights(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weights(str(tmp_path / "weights.pth"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.pth")
    with pytest.raises(UserError, match="is a pipe, a socket or a device"):
        read_weights(str(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state | {"conv9.weight": torch.zeros(1)}, "it has unexpected conv9.weight; model.pretrained is"),
        (lambda state: dict(list(state.items())[1:]), "it is missing conv1.weight; model.pretrained is"),
        (lambda state: state | {"bn1.weight": torch.zeros(3)}, "it has another shape of bn1.weight;"),
        (
            lambda state: renamed("a.", state) | renamed("b.", state),
            "has several networks: a., b.; save the one",
        ),
        (lambda state: {"ema": state, "net": state}, "has several networks: ema/, net/; save the one to use as a file"),
        (
            lambda state: state | {"bn1.bias": torch.full((64,), torch.nan)},
            "is unusable: bn1.bias has values that",
        ),
        (lambda state: {"state_dict": state, "args": Namespace()}, "could run code and are not loaded; save the state"),
        (lambda state: [1], "has no tensors by name"),
        (lambda state: torchvision("models").resnet18(), "contains Python objects, which could run code"),
    ],
    ids=["unexpected", "missing", "shape", "twice", "nested twice", "nan", "objects", "list", "module"],
)
def test_another_file_is_refused_by_name(
    torchvisions: nn.Module, tmp_path: Path, change: Callable[[State], Any], message: str
) -> None:
    path = tmp_path / "other.pth"
    torch.save(change(torchvisions.state_dict()), path)
    with pytest.raises(UserError) as error:
        read_weights(str(path))
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors", "empty.pth", "cut.pth", "."])
def test_a_damaged_file(file: Path, name: str) -> None:
    content = {
        "text.pth": b"root:x:0:0:\n",
        "text.safetensors": b"x" * 99,
        "empty.pth": b"",
        "cut.pth": file.read_bytes()[:9999],
    }
    if name in content:
        (file.parent / name).write_bytes(content[name])
    with pytest.raises(UserError, match="has no tensors by name"):
        read_weights(str(file.parent / name))


def test_no_such_file() -> None:
    with pytest.raises(UserError, match=r"^no file nowhere\.pth; model\.pretrained is imagenet, none, a file"):
        read_weights("nowhere.pth")


def test_a_file_that_would_run_code_runs_none(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="contains Python objects, which could run code"):
        read_weights(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


# ---- torchvision's


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of torch.hub; no file that has been read is remembered."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    published_state.cache_clear()
    return tmp_path / "hub" / "checkpoints"


NAME = "resnet18-f37072fd.pth"
URL = f"https://download.pytorch.org/models/{NAME}"


def test_without_a_network_it_says_what_to_put_where(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError) as error:
        read_weights("imagenet")
    assert str(error.value) == (
        f"cannot download the ImageNet weights (<urlopen error no route to host>): put {NAME} from {URL} into {hub},"
        " or train from scratch with model.pretrained=none"
    )


def test_downloaded_once_with_its_checksum(
    torchvisions: nn.Module, hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save(torchvisions.state_dict(), tmp_path / "source.pth")
    content = (tmp_path / "source.pth").read_bytes()
    checksum = hashlib.sha256(content).hexdigest()[:8]
    downloads: list[tuple[str, str]] = []

    def download(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        downloads.append((url, hash_prefix))
        Path(path).write_bytes(content)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(
        "debiaslab.models.pretrained.imagenet_url", lambda name: f"https://somewhere/resnet18-{checksum}.pth"
    )
    found = read_weights("imagenet")
    assert found["conv1.weight"].equal(torchvisions.state_dict()["conv1.weight"])
    published_state.cache_clear()
    read_weights("imagenet")
    assert downloads == [(f"https://somewhere/resnet18-{checksum}.pth", checksum)]

    (hub / f"resnet18-{checksum}.pth").write_bytes(content[:-1])
    published_state.cache_clear()
    with pytest.raises(UserError, match=f"SHA-256 does not start with {checksum}; remove it to download"):
        read_weights("imagenet")


# ---- the setting


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        (
            "mlp",
            "imagenet",
            "model.pretrained=imagenet: model mlp has no network that takes these weights; train from scratch",
        ),
        (
            "simple_conv",
            "file.pth",
            "model.pretrained=file.pth: model simple_conv has no network that takes these weights;",
        ),
        ("resnet18", None, "model.pretrained=None: model.pretrained is imagenet, none, a file"),
        ("resnet18", 3, "model.pretrained=3: model.pretrained is"),
    ],
)
def test_the_setting_is_checked(model: str, source: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        require_weights(model, architecture(model, {}), source)
    assert str(error.value).startswith(message)


def test_a_network_without_a_resnet18_cannot_be_pretrained(file: Path) -> None:
    branches = architecture("conv_branches", {"pretrained_roles": ["shallow"]})
    with pytest.raises(UserError, match="no file has weights for the 'shallow' network: leave it out of"):
        Networks(branches, (3, 48, 48), 2, 1, PublishedWeights(str(file))).encoder("shallow")
