"""Replays of Group DRO and of the bias-balanced loss (recorded by `record_group_methods.py`)."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from debiaslab.methods import Batch, Task
from debiaslab.methods.bias_balance import BiasBalance
from debiaslab.methods.erm import ERM
from debiaslab.methods.group_dro import GroupDRO
from debiaslab.models import Networks
from debiaslab.models.mlp import MLP
from tests.golden.format import FINAL_TOLERANCE, TOLERANCE, Comparison, GoldenFile, compare, compare_parameters


def replay_group_dro(file: GoldenFile) -> list[Comparison]:
    hparams = file.meta["hparams"]
    own = {"step_size": hparams["robust_step_size"], "adjustment": hparams["generalization_adjustment"]}
    method = build(file, GroupDRO, **own)
    weights, plain = [], []

    def watch(scalars: Mapping[str, Tensor]) -> None:
        weights.append(method.group_weight.clone())
        plain.append(scalars["cross_entropy"].item())

    return [
        *replay_erm(file, method, watch),
        compare("group_weight", torch.stack(weights), file["group_weight"], TOLERANCE),
        compare("cross_entropy", plain, file["cross_entropy"], TOLERANCE),
    ]


def replay_bias_balance(file: GoldenFile) -> list[Comparison]:
    method = build(file, BiasBalance)
    comparisons = replay_erm(file, method, lambda scalars: None)
    method.classifier = nn.Identity()  # type: ignore[assignment]
    logits = torch.from_numpy(file["bare/logits"]).requires_grad_()
    target, bias = torch.from_numpy(file["attrs"]).T
    loss = method.losses(Batch(logits, target, torch.arange(len(target)), 0, bias))["loss"]
    (gradient,) = torch.autograd.grad(loss, logits)
    return [
        *comparisons,
        compare("bare/loss", loss.detach(), file["bare/loss"], TOLERANCE),
        compare("bare/gradient", gradient, file["bare/gradient"], TOLERANCE),
    ]


M = TypeVar("M", bound=ERM)


def build(file: GoldenFile, cls: type[M], **own: Any) -> M:
    hparams = file.meta["hparams"]
    config = cls.Config(
        optimizer=hparams["optimizer"].lower(),
        learning_rate=hparams["lr"],
        weight_decay=hparams["weight_decay"],
        **own,
    )
    target, bias = torch.from_numpy(file["attrs"]).T
    classes, biases = int(target.max()) + 1, int(bias.max()) + 1
    *weights, _, _ = file.meta["init"]["classifier"]["params"]
    widths = tuple(shape[0] for _, shape, kind in weights if kind == "fan_in")
    networks = Networks(MLP(widths=widths, input_scale=1.0), file.image_shape(), classes, seed=0)
    return cls(config, networks, Task(classes, target.contiguous(), 0, bias.contiguous(), biases))


def replay_erm(file: GoldenFile, method: ERM, watch: Callable[[Mapping[str, Tensor]], None]) -> list[Comparison]:
    """The method's only phase on the recorded batches; `watch` gets the scalars of each update."""
    file.initialise("classifier", [method.classifier])
    (phase,) = method.phases()
    losses = []
    for batch in file.batches(with_bias=True):
        scalars = phase.update(batch)
        losses.append(scalars["loss"].item())
        watch(scalars)
    names = file.initial_names("classifier")
    finals = compare_parameters(file, "final/classifier", names, [method.classifier])
    logits = method.eval().predict(file.images()).detach()
    return [
        compare("loss", losses, file["loss"], TOLERANCE),
        compare("logits", logits, file["logits"], FINAL_TOLERANCE),
        *finals,
    ]
