"""Record selecmix.npz (V+SelecMix) by running the authors' functions, on the CPU.

    python -m tests.golden.record_selecmix UTIL_PY LOSS_PY FILE

UTIL_PY and LOSS_PY (module/loss.py) are of iwhwang/SelecMix (4247e2f). The steps around them are those of its learner,
with MLPs of ours, the contrastive one with a batch norm after the encoder, as their ResNet-18 has. Our method is not
used.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, cross_entropy, linear, normalize

from tests.golden import reference
from tests.golden.reference import NUM_IMAGES, WIDTHS, load

HPARAMS: dict[str, Any] = {
    "lr": 0.01,
    "weight_decay": 0.0,
    "q": 0.7,
    "tau": 0.3,
    "contrastive_learning_rate": 0.002,
    "contrastive_weight_decay": 1e-4,
    "mini_batches": 3,
    "plain_weight": 0.5,
    "mixed_weight": 1.5,
}
BATCH, STEPS, PROJECTION = 48, 10, 128


def main(util_py: Path, loss_py: Path, path: Path) -> None:
    util, loss = load(util_py), load(loss_py)
    data = reference.make_data(seed=31)
    contrastive = reference.network(33, outputs=WIDTHS[-1])
    contrastive["params"][-2:-2] = [["norm.weight", [WIDTHS[-1]], "bn_weight"], ["norm.bias", [WIDTHS[-1]], "small"]]
    contrastive["params"] += [
        ["projection.weight", [PROJECTION, WIDTHS[-1]], "fan_in"],
        ["projection.bias", [PROJECTION], "small"],
    ]
    init = {"classifier": reference.network(32), "contrastive": contrastive}
    classifier, encoder = (reference.initial(init[name]) for name in ("classifier", "contrastive"))
    x, y = reference.pixels(data), torch.from_numpy(data["attrs"][:, 0])

    def project(images: Tensor) -> Tensor:
        found = reference.features(encoder, images)
        found = batch_norm(found, None, None, encoder["norm.weight"], encoder["norm.bias"], training=True)
        hidden = linear(found, encoder["classifier.weight"], encoder["classifier.bias"]).relu()
        return normalize(linear(hidden, encoder["projection.weight"], encoder["projection.bias"]), dim=1)

    own, decay = HPARAMS["contrastive_learning_rate"], HPARAMS["contrastive_weight_decay"]
    optimizer = torch.optim.Adam(classifier.values(), lr=HPARAMS["lr"], weight_decay=HPARAMS["weight_decay"])
    contrastive_optimizer = torch.optim.Adam(encoder.values(), lr=own, weight_decay=decay)
    criterion = loss.SupConLoss(temp=HPARAMS["tau"], q=HPARAMS["q"], GSC=True)
    args = SimpleNamespace(intra=False, inter=False, rand=True, ours=True)
    batches = reference.shuffled_batches(numpy.arange(NUM_IMAGES), BATCH, STEPS, seed=34)
    generator = numpy.random.default_rng(35)
    size = BATCH // HPARAMS["mini_batches"]
    series: dict[str, list[Any]] = {name: [] for name in ("mixed", "plain", "contrastive", "target", "share", "parts")}
    same_class = []
    for step, index in enumerate(batches):
        image, target = x[index], y[index]
        torch.manual_seed(step)
        with torch.no_grad():
            features = project(image)
            mixed, mixed_target, own_weight, weight = util.mixup_with_similarity_matrix(
                args, image, target, features @ features.t()
            )
        assert not own_weight.any()
        torch.manual_seed(step)  # the same numbers once more, to record them
        same_class.append(bool(torch.rand(1) > 0.5))
        series["share"].append((0.5 * torch.distributions.Beta(1.0, 1.0).sample([BATCH])).numpy())
        series["target"].append(mixed_target.numpy())
        order = generator.permutation(BATCH).reshape(-1, size)
        series["parts"].append(order)
        terms: dict[str, list[float]] = {"mixed": [], "plain": [], "contrastive": []}
        for part in order:
            of_mixed = weight[part] * cross_entropy(
                reference.logits(classifier, mixed[part]), mixed_target[part], reduction="none"
            )
            of_plain = cross_entropy(reference.logits(classifier, image[part]), target[part])
            losses = HPARAMS["plain_weight"] * of_plain, HPARAMS["mixed_weight"] * of_mixed.mean()
            reference.step(losses[0] + losses[1], optimizer)
            of_pairs = criterion(project(image[part]), target[part])
            reference.step(of_pairs, contrastive_optimizer)
            for name, value in (("plain", losses[0]), ("mixed", losses[1]), ("contrastive", of_pairs)):
                terms[name].append(value.item())
        for name, values in terms.items():
            series[name].append(numpy.mean(values))
    meta = {
        "method": "selecmix",
        "source": "iwhwang/SelecMix 4247e2f: mixup_with_similarity_matrix, SupConLoss",
        "hparams": HPARAMS,
        "init": init,
    }
    arrays = {**data, "batches": batches, "same_class": numpy.array(same_class)}
    arrays |= {name: numpy.array(values) for name, values in series.items()}
    reference.write(path, meta, arrays | reference.final({"classifier": classifier, "contrastive": encoder}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
