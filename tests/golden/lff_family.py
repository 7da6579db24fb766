"""Replays of LfF, DisEnt, and the main runs of BiasEnsemble, in which the samples to keep are recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from debiaslab.methods import Batch, Method, MethodConfig
from debiaslab.methods.bias_ensemble import DisEntBE, LfFBE
from debiaslab.methods.disent import DisEnt
from debiaslab.methods.lff import LfF
from debiaslab.methods.losses import generalized_cross_entropy
from debiaslab.methods.optimizers import scale_learning_rates
from debiaslab.models import Networks
from debiaslab.models.mlp import MLP
from tests.golden.format import TOLERANCE, Comparison, GoldenFile, Unreadable, compare, compare_parameters

# the authors' hyper-parameter -> ours
SETTINGS = {
    "lr": "learning_rate",
    "weight_decay": "weight_decay",
    "q": "q",
    "ema_alpha": "ema_decay",
    "lambda_dis_align": "lambda_dis_align",
    "lambda_swap_align": "lambda_swap_align",
    "lambda_swap": "lambda_swap",
    "curr_step": "curr_step",
    "lr_decay_step": "lr_decay_step",
    "lr_gamma": "lr_gamma",
}


class RecordedDisEnt(DisEnt):
    """DisEnt with the recorded permutations, int64 [steps after curr_step, B]."""

    recorded: Tensor

    def permutation(self, batch: Batch) -> Tensor:
        return self.recorded[batch.step - self.config.curr_step - 1]


class RecordedDisEntBE(DisEntBE):
    Inner = RecordedDisEnt


def replay_lff(file: GoldenFile) -> list[Comparison]:
    method = LfF(config_of(file, LfF), networks_of(file), file.task(num_classes_of(file)))
    return replay_lff_run(file, method, method)


def replay_lff_be(file: GoldenFile) -> list[Comparison]:
    method = LfFBE(config_of(file, LfFBE), networks_of(file), file.task(num_classes_of(file)))
    keep_recorded(file, method)
    assert isinstance(method.inner, LfF)
    return replay_lff_run(file, method, method.inner)


def replay_disent(file: GoldenFile) -> list[Comparison]:
    method = RecordedDisEnt(config_of(file, DisEnt), networks_of(file), file.task(num_classes_of(file)))
    return replay_disent_run(file, method, method)


def replay_disent_be(file: GoldenFile) -> list[Comparison]:
    method = RecordedDisEntBE(config_of(file, DisEntBE), networks_of(file), file.task(num_classes_of(file)))
    keep_recorded(file, method)
    assert isinstance(method.inner, RecordedDisEnt)
    return replay_disent_run(file, method, method.inner)


def replay_lff_run(file: GoldenFile, method: Method, inner: LfF) -> list[Comparison]:
    pairs: dict[str, list[nn.Module]] = {"biased": [inner.biased], "debiased": [inner.debiased]}
    return replay_run(file, method, inner, pairs, ["biased", "debiased"])


def replay_disent_run(file: GoldenFile, method: Method, inner: RecordedDisEnt) -> list[Comparison]:
    if "permutations" in file:
        inner.recorded = torch.from_numpy(file["permutations"]).long()
    pairs: dict[str, list[nn.Module]] = {
        "biased": [inner.bias_encoder, inner.bias_head],
        "debiased": [inner.intrinsic_encoder, inner.intrinsic_head],
    }
    return replay_run(file, method, inner, pairs, ["dis_conflict", "dis_align", "swap_conflict", "swap_align"])


def replay_run(
    file: GoldenFile,
    method: Method,
    inner: LfF | DisEnt,
    networks: Mapping[str, list[nn.Module]],
    terms: Sequence[str],
) -> list[Comparison]:
    """The method's last phase on the recorded batches. `networks`: the file's name -> our modules, in its order."""
    networks = {name: [*modules, unused_projection(file, name)] for name, modules in networks.items()}
    for name, modules in networks.items():
        file.initialise(name, modules)
    phase = method.phases()[-1]
    scalars: list[dict[str, float]] = []
    weights = []
    for batch in file.batches():
        scale_learning_rates(phase.optimizers.values(), phase.learning_rate_factor(batch.step, 1))
        scalars.append({name: value.item() for name, value in phase.update(batch).items()})
        weights.append(inner.difficulty.sample_weights()[batch.index].numpy())

    series: dict[str, Any] = {"loss": [step["loss"] for step in scalars], "weight": weights}
    series |= {f"terms/{name}": [step[name] for step in scalars] for name in terms}
    series["ema/biased"], series["ema/debiased"] = inner.difficulty.values
    comparisons = [compare(name, ours, file[name], TOLERANCE) for name, ours in series.items() if name in file]
    for name, modules in networks.items():
        comparisons += compare_parameters(file, f"final/{name}", file.initial_names(name), modules)
    return comparisons + compare_gce(file)


def compare_gce(file: GoldenFile) -> list[Comparison]:
    """The bare generalised cross-entropy and the gradient of its mean, where the file has them."""
    if "gce/logits" not in file:
        return []
    logits = torch.from_numpy(file["gce/logits"]).requires_grad_()
    loss = generalized_cross_entropy(logits, torch.from_numpy(file["gce/target"]).long(), file.meta["hparams"]["q"])
    (gradient,) = torch.autograd.grad(loss.mean(), logits)
    return [
        compare("gce/loss", loss.detach(), file["gce/loss"], TOLERANCE),
        compare("gce/grad_mean", gradient, file["gce/grad_mean"], TOLERANCE),
    ]


# ---- from the file to our method


def config_of(file: GoldenFile, method: type[Method]) -> Any:
    """Our settings for the file's hyper-parameters. Raises `Unreadable` for one that is not known."""
    theirs = dict(file.meta["hparams"])
    config: type[MethodConfig] = method.Config
    ours: dict[str, Any] = {"optimizer": theirs.pop("optimizer").lower(), "batch_size": file["batches"].shape[1]}
    if issubclass(config, DisEnt.Config):
        ours["lr_decay_step"] = None  # unless the file has one
    for name, value in theirs.items():
        if name not in SETTINGS:
            raise Unreadable(f"{file.path}: unknown hyper-parameter {name}={value!r}")
        ours[SETTINGS[name]] = value
    return config(**ours)


def networks_of(file: GoldenFile) -> Networks:
    """The authors' MLP of the file's sizes; it divides images in [0, 1] by 255 once more."""
    shapes = {name: shape for name, shape, _ in file.meta["init"]["biased"]["params"]}
    widths = [shape[0] for name, shape in shapes.items() if name.startswith("feature.") and len(shape) == 2]
    architecture = MLP(widths=tuple(widths), input_scale=1 / 255)
    return Networks(architecture, file.image_shape(), num_classes_of(file), seed=0)


def num_classes_of(file: GoldenFile) -> int:
    """As many as the last layer has outputs: `classifier` or `fc` by the authors' names."""
    for name, shape, _ in file.meta["init"]["biased"]["params"]:
        if name in ("classifier.weight", "fc.weight"):
            return int(shape[0])
    raise Unreadable(f"{file.path}: no classification layer in its networks")


def keep_recorded(file: GoldenFile, method: LfFBE | DisEntBE) -> None:
    """As if the ensemble had selected the recorded samples."""
    assert method.inner.kept is not None
    method.inner.kept.zero_()
    method.inner.kept[torch.from_numpy(file["kept"]).long()] = True


def unused_projection(file: GoldenFile, network: str) -> nn.ParameterList:
    """Room for the projection layers, last in the networks of BiasEnsemble's code, which no loss ever reaches."""
    shapes = {name: shape for name, shape, _ in file.meta["init"][network]["params"]}
    return nn.ParameterList(torch.zeros(shape) for name, shape in shapes.items() if name.startswith("proj."))
