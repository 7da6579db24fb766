"""Replay of ReBias, RUBi and LearnedMixin, and of both HSIC estimators alone."""

from math import inf

import torch

from debiaslab.methods import METHODS
from debiaslab.methods.hsic import ESTIMATORS
from debiaslab.methods.vanilla_biased import VanillaBiased
from debiaslab.models import Networks
from tests.golden.format import (
    TOLERANCE,
    Comparison,
    GoldenFile,
    Unreadable,
    compare,
    compare_parameters,
)
from tests.golden.simple_conv import NORMALIZE, architecture, compare_logits_eval, num_classes

# the authors' names of settings -> ours; where a method has no such setting, the value must be the one that it implies
SETTINGS = {
    "rebias": {
        "f_lambda_outer": "f_lambda",
        "g_lambda_inner": "g_lambda",
        "n_g_update": "n_g_update",
        "sigma": "sigma",
    },
    "vanilla_biased": {"n_g_update": "n_g_update"},
    "rubi": {name: name for name in ("f_lambda_outer", "n_g_update", "train_head")},
    "learned_mixin": {name: name for name in ("f_lambda_outer", "n_g_update", "train_head", "entropy_weight")},
}
IMPLIED = {
    "vanilla_biased": {"f_lambda_outer": 0, "g_lambda_inner": 0},
    "rubi": {"g_lambda_inner": 0},
    "learned_mixin": {"g_lambda_inner": 0},
}


def replay(file: GoldenFile) -> list[Comparison]:
    """The recorded batches in the method's last phase, then the bare estimators with their gradients."""
    method = build(file)
    networks = {"f": method.f, "g": method.g}
    if "head" in file.meta["init"]:
        networks["head"] = method.head  # type: ignore[assignment]
    for name, network in networks.items():
        file.initialise(name, [network])
    scalars = [method.update(batch) for batch in file.batches(NORMALIZE)]
    comparisons = [compare("loss/f", [step["loss"].item() for step in scalars], file["loss/f"], TOLERANCE)]
    g_losses = [step["biased"].item() if "biased" in step else 0.0 for step in scalars]  # 0 stands for no update
    comparisons.append(compare("loss/g", g_losses, file["loss/g"], TOLERANCE))
    for name, network in networks.items():
        comparisons += compare_parameters(file, f"final/{name}", file.initial_names(name), [network])
    comparisons += compare_logits_eval(file, method.eval().predict, inf)  # for information, says the format
    for series in sorted(name.removesuffix("/sigma") for name in file.arrays if name.endswith("/sigma")):
        comparisons += compare_estimators(file, series)
    return comparisons


def build(file: GoldenFile) -> VanillaBiased:
    """Our method with the file's hyper-parameters and layer sizes."""
    name, hparams, classes = file.meta["method"], file.meta["hparams"], num_classes(file, "f")
    for setting, value in IMPLIED.get(name, {}).items():
        if hparams.get(setting, value) != value:
            raise Unreadable(f"{file.path}: {setting}={hparams[setting]}, but {name} has {value}")
    cls = METHODS[name]
    config = cls.Config(
        optimizer=hparams["optimizer"].lower(),
        learning_rate=hparams["lr"],
        weight_decay=hparams["weight_decay"],
        **{ours: hparams[theirs] for theirs, ours in SETTINGS[name].items() if theirs in hparams},
    )
    networks = Networks(architecture(file, "f", "g", "relu"), file.image_shape(), classes, seed=0)
    method = cls(config, networks, file.task(classes))
    assert isinstance(method, VanillaBiased)
    return method.train()


def compare_estimators(file: GoldenFile, series: str) -> list[Comparison]:
    """The estimators of one recorded pair of samples, and their gradients by the first."""
    comparisons = []
    sigma_x, sigma_y = file[f"{series}/sigma"].tolist()
    for name in (name for name in ESTIMATORS if f"{series}/{name}" in file):
        x, y = (torch.from_numpy(file[f"{series}/{part}"]) for part in ("x", "y"))
        value = ESTIMATORS[name](x.requires_grad_(), y, sigma_x, sigma_y)
        value.backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        ours = {name: value.detach().numpy(), f"{name}_grad_x": x.grad.numpy()}
        for part, values in ours.items():
            comparisons.append(compare(f"{series}/{part}", values, file[f"{series}/{part}"], TOLERANCE))
    return comparisons
