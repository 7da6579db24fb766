"""Replay of JTT: the first training, the error set, the enlarged training set and the second training."""

import numpy

from debiaslab.methods.jtt import JTT
from tests.golden.format import TOLERANCE, Comparison, GoldenFile, compare, compare_parameters
from tests.golden.protocol import exact
from tests.golden.small_mlp import all_images, networks_of, num_classes_of, train


def replay(file: GoldenFile) -> list[Comparison]:
    hparams = file.meta["hparams"]
    config = JTT.Config(
        learning_rate=hparams["lr"],
        weight_decay=hparams["weight_decay"],
        optimizer=hparams["optimizer"].lower(),
        copies=hparams["copies"],
    )
    method = JTT(config, networks_of(file, "classifier"), file.task(num_classes_of(file, "classifier")))
    networks = {"identifier": method.identifier, "classifier": method.classifier}
    for network in networks.values():
        file.initialise("classifier", [network])
    identify, second = method.phases()
    losses = train(identify, file.batches())
    comparisons = [compare("identify/loss", losses["loss"], file["identify/loss"], TOLERANCE)]

    method.eval()
    identify.finish([all_images(file)])
    comparisons.append(exact("errors", method.wrong.nonzero()[:, 0].numpy(), file["errors"]))
    assert second.positions is not None
    comparisons.append(exact("enlarged", second.positions().numpy(), numpy.sort(file["enlarged"])))
    losses = train(second, file.batches(name="train/batches"))
    comparisons.append(compare("train/loss", losses["loss"], file["train/loss"], TOLERANCE))
    for name, network in networks.items():
        comparisons += compare_parameters(file, f"final/{name}", file.initial_names("classifier"), [network])
    return comparisons
