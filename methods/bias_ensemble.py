"""BiasEnsemble: LfF or DisEnt with an amplified bias (Lee et al., AAAI 2023, arXiv:2205.14594).

Several biased classifiers are trained briefly with generalised cross-entropy. The training samples that most of them
classify with high confidence are kept as bias-aligned, and the biased network of the inner method is trained on those
only.

Deviations from the authors' code:
- Where the data have no validation images (such as Colored MNIST with `data.protocol=published`) the checkpoints of the
  biased classifiers are selected on the test images, by `ensemble_selection=oracle_test_accuracy`.
- DisEnt+BE: in a class whose running losses are all exactly 0 the weights are 0; their code divides 0 by 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softmax

from debiaslab.core.settings import must_be, positive, require, setting
from debiaslab.methods.base import Method, MethodConfig, SampleNotes, Task
from debiaslab.methods.declarations import drop_last_setting
from debiaslab.methods.disent import DisEnt
from debiaslab.methods.lff import LfF
from debiaslab.methods.losses import generalized_cross_entropy, of_class
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import ANY_OF_LEE, DIGITS, LEE, LEE_2021, LEE_2023, OWN_IMAGES, for_disent
from debiaslab.methods.ranges import SearchRange
from debiaslab.methods.recipes import mark_unpublished, merge, name_recipes, stand_ins
from debiaslab.models import Networks


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig(MethodConfig):
    """The settings in addition to those of the inner method, whose `q` is used by the biased classifiers only."""

    ensemble_size: int = setting(5, "number of biased classifiers", positive)
    ensemble_steps: int = setting(1_000, "training steps of each biased classifier", positive, part="steps")
    ensemble_check_steps: int = setting(
        500, "each is evaluated after its first step and at this interval in steps from there", positive, part="steps"
    )
    ensemble_selection: str = setting("best_valid_accuracy", "checkpoint selection rule for the biased classifiers")
    ensemble_confidence: float = setting(
        0.99,
        "a classifier votes for a sample if it predicts the target with a probability above this",
        must_be("0 or more, below 1", lambda confidence: 0 <= confidence < 1),
    )
    ensemble_votes: int = setting(3, "a sample with at least this many votes is kept as bias-aligned")

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = f"1 to ensemble_size={self.ensemble_size}"
        require(1 <= self.ensemble_votes <= self.ensemble_size, "ensemble_votes", self.ensemble_votes, allowed)

    def rules(self) -> dict[str, str]:
        return super().rules() | {"ensemble_selection": self.ensemble_selection}


CONFIDENCE = {"ensemble_confidence": SearchRange(text="uniform(0.9, 0.999)")}


class BiasEnsemble(Method):
    """Selects the samples to keep as bias-aligned, then trains `Inner` with them."""

    Inner: ClassVar[type[LfF] | type[DisEnt]]
    WITHOUT_VALID = {"ensemble_selection": "oracle_test_accuracy"}
    SAMPLE_STATE = ("votes", "voters", "inner.kept", "inner.difficulty.")
    needs_whole_batch = True

    votes: Tensor
    voters: Tensor

    def __init__(self, config: Any, networks: Networks, task: Task) -> None:
        """`config` has the settings of `EnsembleConfig` and of `Inner.Config`."""
        super().__init__(config, networks, task)
        self.networks = networks
        self.classifier = networks.classifier(phase_name(0))
        self.optimizer = self.optimizer_of(self.classifier)
        self.register_buffer("votes", torch.zeros(len(task.train_target), dtype=torch.uint8))
        self.register_buffer("voters", torch.zeros((), dtype=torch.int64))
        all_samples = torch.ones(len(task.train_target), dtype=torch.bool)
        self.inner = self.Inner(config, networks, task, kept=all_samples)

    def phases(self) -> Sequence[Phase]:
        config = self.config
        biased = [
            self.phase(
                phase_name(number),
                losses=self.biased_losses,
                logits=lambda image: {"biased": self.classifier(image)},
                features=lambda image: {"biased": self.classifier.encoder(image)},
                training=[self.classifier],
                optimizers={"classifier": self.optimizer},
                epochs=None,
                num_steps=config.ensemble_steps,
                drop_last=self.inner.config.drop_last,
                evaluation_steps=range(1, config.ensemble_steps + 1, config.ensemble_check_steps),
                hand_over=config.ensemble_selection,
                finish=partial(self.vote, number),
            )
            for number in range(config.ensemble_size)
        ]
        return [*biased, *self.inner.phases()]

    def predict(self, image: Tensor) -> Tensor:
        return self.inner.predict(image)

    def biased_losses(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.classifier(batch.image)
        return {"loss": generalized_cross_entropy(logits, batch.target, self.inner.config.q).mean()}

    @torch.no_grad()
    def vote(self, number: int, training_images: Iterable[Batch]) -> None:
        """Count the votes of classifier `number`; then initialise the next one or, after the last, set `kept`."""
        for batch in training_images:
            probability = of_class(softmax(self.classifier(batch.image), dim=1), batch.target)
            self.votes[batch.index] += probability > self.config.ensemble_confidence
        self.voters += 1
        self.optimizer.state.clear()
        if number + 1 < self.config.ensemble_size:
            self.classifier.load_state_dict(self.networks.classifier(phase_name(number + 1)).state_dict())
        else:
            assert self.inner.kept is not None
            self.inner.kept.copy_(self.votes >= self.config.ensemble_votes)

    def sample_notes(self) -> SampleNotes:
        """`kept` is None until all classifiers have voted; then the other samples count as bias-conflicting."""
        notes = replace(self.inner.sample_notes(), conflicting=None, votes=self.votes)
        if self.inner.kept is None or int(self.voters) < self.config.ensemble_size:
            return notes
        return replace(notes, kept=self.inner.kept, conflicting=~self.inner.kept)


def phase_name(number: int) -> str:
    return f"bias_{number + 1}"


class LfFBE(BiasEnsemble):
    """BiasEnsemble with LfF."""

    @dataclass(frozen=True, kw_only=True)
    class Config(EnsembleConfig, LfF.Config):
        drop_last: bool = drop_last_setting(True)

    SEARCH = {**LfF.SEARCH, **CONFIDENCE}

    Inner = LfF
    RECIPES = merge(
        name_recipes("debiaslab", DIGITS, ensemble_steps=600, ensemble_check_steps=500),
        name_recipes("debiaslab", mark_unpublished(LEE_2021, "those of DisEnt") | OWN_IMAGES),
        name_recipes("lee2023", LEE | LEE_2023),
    )
    UNPUBLISHED = stand_ins(ANY_OF_LEE)


class DisEntBE(BiasEnsemble):
    """BiasEnsemble with DisEnt."""

    @dataclass(frozen=True, kw_only=True)
    class Config(EnsembleConfig, DisEnt.Config):
        pass

    SEARCH = {**DisEnt.SEARCH, **CONFIDENCE}

    Inner = DisEnt
    RECIPES = merge(
        name_recipes("debiaslab", for_disent(DIGITS), ensemble_steps=600, ensemble_check_steps=500),
        name_recipes("debiaslab", for_disent(mark_unpublished(LEE_2021, "those of DisEnt") | OWN_IMAGES)),
        name_recipes("lee2023", for_disent(LEE | LEE_2023)),
    )
    UNPUBLISHED = DisEnt.UNPUBLISHED
