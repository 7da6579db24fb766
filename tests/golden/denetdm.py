"""Replay of DeNetDM's two stages."""

from typing import Any

import torch

from debiaslab.methods.denetdm import DeNetDM
from debiaslab.models import Networks
from debiaslab.models.mlp import MLPBranches
from tests.golden.format import FINAL_TOLERANCE, TOLERANCE, Comparison, GoldenFile, compare, compare_parameters


def replay(file: GoldenFile) -> list[Comparison]:
    """Stage 1 on the recorded batches, then stage 2 from the weights after its last step."""
    method = build(file)
    phases = {phase.name: phase for phase in method.phases()}
    batches = file.batches()
    separation, student = file.initial_names("stage1"), file.initial_names("stage2_student")
    comparisons = []

    file.initialise("stage1", [method.shallow, method.deep, method.head])
    file.initialise("stage2_student", [method.target, method.target_deep, method.target_head])
    losses = [phases["separate"].update(batch)["loss"].item() for batch in batches]
    comparisons.append(compare("stage1/loss", losses, file["stage1/loss"], TOLERANCE))
    modules = [method.shallow, method.deep, method.head]
    comparisons += compare_parameters(file, "stage1/final", separation, modules)
    theirs = {"product": "logits_poe", "shallow": "logits_debias", "deep": "logits_bias"}
    comparisons += compare_logits(file, "stage1", phases["separate"].logits, theirs)

    method.start_distillation()
    losses = [phases["distill"].update(batch)["loss"].item() for batch in batches]
    comparisons.append(compare("stage2/loss", losses, file["stage2/loss"], TOLERANCE))
    modules = [method.target, method.target_deep, method.target_head]
    comparisons += compare_parameters(file, "stage2/final", student, modules)
    comparisons += compare_logits(file, "stage2", phases["distill"].logits, {"target": "logits_debias"})
    return comparisons


def build(file: GoldenFile) -> DeNetDM:
    """Our DeNetDM with the file's hyper-parameters and layer sizes."""
    stage1, stage2 = file.meta["hparams"]["stage1"], file.meta["hparams"]["stage2"]
    shapes = {name: shape for network in file.meta["init"].values() for name, shape, _ in network["params"]}
    num_classes, width = shapes["classifier.weight"]

    def depth(network: str, branch: str) -> int:
        return sum(name.startswith(branch) and name.endswith("weight") for name in file.initial_names(network))

    architecture = MLPBranches(
        width=width,
        shallow=depth("stage1", "debias_branch"),
        deep=depth("stage1", "bias_branch"),
        target=depth("stage2_student", "debias_branch"),
    )
    config = DeNetDM.Config(
        optimizer=stage1["optimizer"].lower(),
        learning_rate=stage1["lr"],
        weight_decay=stage1["weight_decay"],
        distill_optimizer=stage2["optimizer"].lower(),
        distill_learning_rate=stage2["lr"],
        distill_weight_decay=stage2["weight_decay"],
        poe_weight=stage2["poe_weight"],
        distill_weight=stage2["distill_weight"],
        temperature=stage2["temperature"],
    )
    return DeNetDM(config, Networks(architecture, file.image_shape(), num_classes, seed=0), file.task(num_classes))


@torch.no_grad()
def compare_logits(file: GoldenFile, stage: str, logits: Any, names: dict[str, str]) -> list[Comparison]:
    """The branches' logits for the first images of the file, as many as are recorded."""
    recorded = {branch: f"{stage}/{name}" for branch, name in names.items() if f"{stage}/{name}" in file}
    return [
        compare(series, logits(file.images()[: len(file[series])])[branch].numpy(), file[series], FINAL_TOLERANCE)
        for branch, series in recorded.items()
    ]
