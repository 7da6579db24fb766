"""Networks of torchvision and timm as encoders. No weights are downloaded; large networks have no memory."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from debiaslab.core.errors import UserError
from debiaslab.core.vision import torchvision
from debiaslab.datasets import Split, dataset_config
from debiaslab.methods import METHODS
from debiaslab.methods.phase import set_modes
from debiaslab.models import Networks, architecture, timm_networks
from debiaslab.models.library import LibraryEncoder
from debiaslab.models.pretrained import PublishedWeights, published_state
from debiaslab.prediction.exporting import TORCHVISION, torchvision_state
from debiaslab.settings.setup import check
from tests.methods.building import build, first_batches
from tests.methods.test_contract import DATA, contract_setup

timm = timm_networks.timm()

PARAMETERS = {"resnet18": 11_176_512, "resnet50": 23_508_032, "vit_b_16": 85_798_656, "convnext_tiny": 27_820_128}


def networks_of(model: str, size: int, **hparams: Any) -> Networks:
    return Networks(architecture(model, hparams), (3, size, size), 10, seed=1)


@pytest.mark.parametrize("model", TORCHVISION)
def test_the_names_of_torchvision_come_back_with_the_head(model: str) -> None:
    with torch.device("meta"):
        classifier = networks_of(model, 224).classifier("any")
        whole = getattr(torchvision("models"), model)(weights=None, num_classes=10)
        assert classifier.encoder(torch.zeros(2, 3, 224, 224)).shape == (2, classifier.encoder.feature_dim)
    assert sum(parameter.numel() for parameter in classifier.encoder.parameters()) == PARAMETERS[model]
    found = torchvision_state(classifier)
    assert found is not None
    assert found[0] == model
    assert shapes(found[1]) == shapes(whole.state_dict())


def shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def test_no_network_drops_layers_at_random() -> None:
    """Batches would depend on more than the seed and the step, and a resumed run on where it was interrupted."""
    with torch.device("meta"):
        for model in TORCHVISION:
            encoder = networks_of(model, 224).encoder("any").train()
            for module in encoder.modules():
                assert getattr(module, "p", 0.0) == 0, model


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ("vit_b_16", 64, "model ViTB16 takes images of 224x224 pixels, and these have 64x64; choose another with"),
        ("convnext_tiny", 28, "model ConvNeXtTiny needs images of at least 32x32 pixels for its 'any' network"),
    ],
)
def test_images_that_do_not_fit(model: str, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        networks_of(model, size).encoder("any")


@pytest.mark.parametrize("model", ["vit_b_16", "resnet50"])
def test_a_frozen_network_stays_in_eval_mode(model: str) -> None:
    with torch.device("meta"):
        encoder = networks_of(model, 224, frozen=True).encoder("any").train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


# ---- timm


@pytest.mark.parametrize(("name", "features"), [("test_resnet", 96), ("test_vit", 64), ("test_efficientnet", 256)])
def test_a_network_of_timm_has_the_features_of_its_last_layer(name: str, features: int) -> None:
    encoder = networks_of("timm", 32, name=name).encoder("any")
    assert encoder.training
    assert encoder.feature_dim == features
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, features)


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({}, "model.hparams.name=None: must be the name of a network in timm, such as resnet50.a1_in1k"),
        ({"name": "reset50"}, "model.hparams.name=reset50: timm has no such network; did you mean 'resnet50'?"),
        ({"name": "resnet50.a1_in2k"}, "timm has no such network; did you mean 'resnet50.a1_in1k'?"),
        ({"name": "hf-hub:someone/model"}, "model.hparams.name=hf-hub:someone/model: timm has no such network"),
    ],
)
def test_names_that_timm_does_not_have(hparams: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        architecture("timm", hparams)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_images_that_a_network_of_timm_does_not_take() -> None:
    with pytest.raises(UserError) as error:
        networks_of("timm", 28, name="test_vit").encoder("any")
    assert str(error.value).startswith("timm's test_vit takes no images of 28x28 (")
    assert str(error.value).endswith("; it was made for 160x160")


def test_timm_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r'model timm needs the package timm: pip install ".\[timm\]"'):
        architecture("timm", {"name": "test_vit"})


def test_weights_in_a_file_with_the_names_of_timm(tmp_path: Path) -> None:
    torch.manual_seed(4)
    whole: nn.Module = timm.create_model("test_vit").eval()
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in whole.state_dict().items()}}, tmp_path / "a.pt"
    )
    networks = networks_of("timm", 160, name="test_vit")
    networks.weights = PublishedWeights(str(tmp_path / "a.pt"))
    encoder, image = networks.encoder("any").eval(), torch.rand(2, 3, 160, 160)
    assert whole.get_submodule("head")(encoder(image)).allclose(whole(image), atol=1e-5)

    networks = networks_of("timm", 32, name="test_resnet")
    networks.weights = PublishedWeights(str(tmp_path / "a.pt"))
    with pytest.raises(UserError, match=r"a.pt does not fit timm's test_resnet: it is missing conv1.0.weight and"):
        networks.encoder("any")


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, **options: Any) -> nn.Module:
        if options.get("pretrained"):
            raise OSError("no connection to the hub\nand more")
        network: nn.Module = timm.create_model(name, num_classes=0, **options)
        return network

    monkeypatch.setattr(timm_networks, "create", create)
    published_state.cache_clear()
    networks = networks_of("timm", 32, name="test_resnet")
    networks.weights = PublishedWeights("imagenet")
    with pytest.raises(UserError) as error:
        networks.encoder("any")
    assert str(error.value) == (
        "cannot get the weights of timm's test_resnet (no connection to the hub); give a file of them with"
        " model.pretrained=FILE, or train from scratch with model.pretrained=none"
    )


def test_the_weights_that_timm_has(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    theirs: nn.Module = timm.create_model("test_resnet", num_classes=0)
    asked: list[dict[str, Any]] = []

    def create(name: str, **options: Any) -> nn.Module:
        asked.append(options)
        network: nn.Module = theirs if options.get("pretrained") else timm.create_model(name, num_classes=0, **options)
        return network

    monkeypatch.setattr(timm_networks, "create", create)
    published_state.cache_clear()
    networks = networks_of("timm", 32, name="test_resnet")
    networks.weights = PublishedWeights("imagenet")
    encoder = networks.encoder("any")
    assert isinstance(encoder, LibraryEncoder)
    assert encoder.body.state_dict()["conv1.0.weight"].equal(theirs.state_dict()["conv1.0.weight"])
    assert asked == [{"in_chans": 3}, {"pretrained": True, "in_chans": 3}]
    published_state.cache_clear()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains_a_network_that_gives_features_alone(method: str, data_root: Path) -> None:
    """A Vision Transformer has no feature map, no batch norm and no convolution but the first."""
    model = {"name": "timm", "pretrained": "none", "hparams": {"name": "test_vit"}}
    digits = dataset_config({"name": "digits", "root": str(data_root), **DATA.get(method, {})}).load()
    assert digits.valid is not None
    data = replace(digits, train=enlarged(digits.train), valid=enlarged(digits.valid), test=enlarged(digits.test))
    built = build(check({**contract_setup(method, data_root, seed=1).config, "model": model}), data)
    phase = built.phases()[0]
    set_modes(built, phase)
    (batch,) = first_batches(built, data, 1)
    assert all(torch.isfinite(scalar) for scalar in phase.update(batch).values())
    assert built.eval().predict(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def enlarged(split: Split) -> Split:
    """The images with 32x32 pixels."""
    assert isinstance(split.images, Tensor)
    return replace(split, images=pad(split.images, (2, 2, 2, 2)))
