"""Replay of ECS+GA: the networks that score, the scores, the hard images, and the recorded batches."""

from debiaslab.methods.ecs_ga import ECSGA
from tests.golden.format import TOLERANCE, Comparison, GoldenFile, compare, compare_parameters
from tests.golden.protocol import exact
from tests.golden.small_mlp import all_images, networks_of, num_classes_of, train


def replay(file: GoldenFile) -> list[Comparison]:
    hparams = {("learning_rate" if name == "lr" else name): value for name, value in file.meta["hparams"].items()}
    config = ECSGA.Config(**{**hparams, "optimizer": hparams["optimizer"].lower()})
    method = ECSGA(config, networks_of(file, "first"), file.task(num_classes_of(file, "first")))
    networks = {"first": method.first, "second": method.second, "classifier": method.classifier}
    for name, network in networks.items():
        file.initialise(name, [network])
    score, second = method.phases()
    assert score.finish_epoch is not None
    batches, per_epoch, losses = file.batches(), file.meta["steps_per_epoch"], []
    for start in range(0, len(batches), per_epoch):
        losses += train(score, batches[start : start + per_epoch])["loss"]
        score.finish_epoch([all_images(file)])
    score.finish([])
    comparisons = [
        compare("score/loss", losses, file["score/loss"], TOLERANCE),
        compare("score", method.scores(), file["score"], TOLERANCE),
        exact("hard", method.hard.numpy(), file["hard"]),
    ]
    losses = train(second, file.batches(name="train/batches"))["loss"]
    comparisons.append(compare("train/loss", losses, file["train/loss"], TOLERANCE))
    for name, network in networks.items():
        comparisons += compare_parameters(file, f"final/{name}", file.initial_names(name), [network])
    return comparisons
