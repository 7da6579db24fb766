"""Replay of EnD, and of its two losses alone."""

import torch
from torch.nn.functional import normalize

from debiaslab.methods.end import EnD, cosines, disentangling_loss, entangling_loss
from debiaslab.models import Networks
from tests.golden.format import FINAL_TOLERANCE, TOLERANCE, Comparison, GoldenFile, compare, compare_parameters
from tests.golden.simple_conv import NORMALIZE, architecture, compare_logits_eval, num_classes


def replay(file: GoldenFile) -> list[Comparison]:
    """The recorded batches, then the bare losses with their gradients."""
    hparams = file.meta["hparams"]
    alpha, beta = hparams["alpha"], hparams["beta"]
    method = build(file)
    modules = [method.encoder, method.head]
    file.initialise("model", modules)
    scalars = [method.phases()[0].update(batch) for batch in file.batches(NORMALIZE, with_bias=True)]
    losses = [step["loss"].item() for step in scalars]
    classification = [step["cross_entropy"].item() for step in scalars]
    regularizer = [(alpha * step["disentangle"] + beta * step["entangle"]).item() for step in scalars]
    comparisons = [
        compare("loss", losses, file["loss"], TOLERANCE),
        compare("terms/ce", classification, file["terms/ce"], TOLERANCE),
        compare("terms/regulariser", regularizer, file["terms/regulariser"], TOLERANCE),
    ]
    comparisons += compare_parameters(file, "final/model", file.initial_names("model"), modules)
    comparisons += compare_logits_eval(file, method.eval().predict, FINAL_TOLERANCE)
    for series in sorted(name.removesuffix("/features") for name in file.arrays if name.endswith("/features")):
        comparisons += compare_losses(file, series, alpha, beta)
    return comparisons


def build(file: GoldenFile) -> EnD:
    """Our EnD with the file's hyper-parameters and layer sizes."""
    hparams, classes = file.meta["hparams"], num_classes(file, "model")
    config = EnD.Config(
        alpha=hparams["alpha"],
        beta=hparams["beta"],
        optimizer=hparams["optimizer"].lower(),
        learning_rate=hparams["lr"],
        weight_decay=hparams["weight_decay"],
    )
    networks = Networks(architecture(file, "model", "model", "tanh"), file.image_shape(), classes, seed=0)
    return EnD(config, networks, file.task(classes))


def compare_losses(file: GoldenFile, series: str, alpha: float, beta: float) -> list[Comparison]:
    """Both losses of one recorded set of features, and their weighted sum's gradient."""
    features = normalize(torch.from_numpy(file[f"{series}/features"]), dim=1).requires_grad_()
    target, bias = (torch.from_numpy(file[f"{series}/{name}"]) for name in ("target", "bias"))
    cosine = cosines(features)
    disentangle, entangle = disentangling_loss(cosine, bias), entangling_loss(cosine, target, bias)
    (alpha * disentangle + beta * entangle).backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    ours = {
        "disentangle": disentangle.detach().numpy(),
        "entangle": entangle.detach().numpy(),
        "grad_normalised": features.grad.numpy(),
    }
    return [compare(f"{series}/{name}", value, file[f"{series}/{name}"], TOLERANCE) for name, value in ours.items()]
