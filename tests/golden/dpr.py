"""Replay of DPR: the biased network, the disagreement probabilities, the second network on the recorded draws."""

from debiaslab.methods.dpr import DPR
from tests.golden.format import TOLERANCE, Comparison, GoldenFile, compare, compare_parameters
from tests.golden.small_mlp import all_images, networks_of, num_classes_of, train


def replay(file: GoldenFile) -> list[Comparison]:
    hparams = {("learning_rate" if name == "lr" else name): value for name, value in file.meta["hparams"].items()}
    config = DPR.Config(**{**hparams, "optimizer": hparams["optimizer"].lower()})
    method = DPR(config, networks_of(file, "biased"), file.task(num_classes_of(file, "biased")))
    file.initialise("biased", [method.biased])
    biased, second = method.phases()
    losses = train(biased, file.batches())
    comparisons = [compare("biased/loss", losses["loss"], file["biased/loss"], TOLERANCE)]

    method.eval()
    biased.finish([all_images(file)])
    assert second.sampling_weights is not None
    weights = second.sampling_weights()
    comparisons.append(compare("share", weights / weights.sum(), file["share"], TOLERANCE))
    losses = train(second, file.batches(name="train/batches"))
    comparisons.append(compare("train/loss", losses["loss"], file["train/loss"], TOLERANCE))
    for name, network in {"biased": method.biased, "classifier": method.classifier}.items():
        comparisons += compare_parameters(file, f"final/{name}", file.initial_names("biased"), [network])
    return comparisons
