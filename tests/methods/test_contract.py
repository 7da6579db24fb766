"""What the training loop and a user may rely on, of every registered method. A new method is covered by itself;
one without a recipe for the coloured digits adds its data set to `DATASETS`."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from debiaslab.datasets import BiasedDataset, dataset_config
from debiaslab.lockstep.graphs import capturable_descent, descent_of
from debiaslab.methods import METHODS, Method
from debiaslab.methods.optimizers import scale_learning_rates
from debiaslab.methods.phase import set_modes
from debiaslab.settings.setup import Setup
from debiaslab.training.loop import Trained
from tests.methods.building import Watch, build, first_batches, short_setup, trained, trainer

DATASETS: dict[str, str] = {}  # method -> data set, where it is not the coloured digits
DATA: dict[str, dict[str, Any]] = {"subg": {"skew": 0.9}}  # settings of its data, here for images in all groups
HPARAMS: dict[str, dict[str, Any]] = {  # method -> settings with which a short run has all that a long one has
    "lff_be": {"ensemble_confidence": 0.11, "ensemble_votes": 1},
    "disent_be": {"ensemble_confidence": 0.11, "ensemble_votes": 1},
}

NUM_TRAIN = {"subg": 1_200}  # method -> training images, where they are not these
FEW_TRAIN, FEW_TESTED = 400, 100  # images, of which a short run has more than two epochs
NUM_STEPS, BATCH_SIZE = 30, 32


@pytest.fixture(scope="module", params=sorted(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def setup(name: str, data_root: Path) -> Setup:
    return contract_setup(name, data_root, seed=1)


@pytest.fixture(scope="module")
def data(name: str, data_root: Path) -> BiasedDataset:
    whole = dataset_config({"name": DATASETS.get(name, "digits"), "root": str(data_root), **DATA.get(name, {})}).load()
    train = whole.train.select(torch.arange(NUM_TRAIN.get(name, FEW_TRAIN)))
    return replace(whole.limit(FEW_TESTED), train=train)


class Whole(NamedTuple):
    """A short run from beginning to end; tests leave its method as it is."""

    method: Method
    outcome: Trained
    updates: int


@pytest.fixture(scope="module")
def whole(setup: Setup, data: BiasedDataset) -> Whole:
    method, watch = build(setup, data), Watch()
    outcome = trainer(setup, method, data, watch).fit()
    return Whole(method.eval(), outcome, watch.updates)


def contract_setup(name: str, data_root: Path, seed: int) -> Setup:
    length = {"num_steps": NUM_STEPS, "batch_size": BATCH_SIZE}
    return short_setup(name, data_root, seed, DATASETS.get(name, "digits"), **length | HPARAMS.get(name, {}))


def optimizers_of(method: Method) -> list[Optimizer]:
    """Each of the method's optimisers once."""
    optimizers = [optimizer for phase in method.phases() for optimizer in phase.optimizers.values()]
    return list({id(optimizer): optimizer for optimizer in optimizers}.values())


def optimized(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    different = [key for key, tensor in ours.items() if not torch.equal(tensor, theirs[key])]
    assert different == []


def test_every_trainable_parameter_is_in_exactly_one_optimizer(setup: Setup, data: BiasedDataset) -> None:
    method = build(setup, data)
    trainable = {id(parameter): key for key, parameter in method.named_parameters() if parameter.requires_grad}
    held = [id(parameter) for optimizer in optimizers_of(method) for parameter in optimized(optimizer)]
    assert {key: held.count(id_) for id_, key in trainable.items()} == dict.fromkeys(trainable.values(), 1)
    assert set(held) == set(trainable)


def test_an_update_moves_its_parameters_and_leaves_the_batch(setup: Setup, data: BiasedDataset) -> None:
    for position, phase in enumerate(build(setup, data).phases()):
        method = build(setup, data)
        phase = method.phases()[position]
        set_modes(method, phase)
        (batch,) = first_batches(method, data, 1, position)
        kept = replace(batch, image=batch.image.clone(), target=batch.target.clone(), index=batch.index.clone())
        before = [
            [parameter.detach().clone() for parameter in optimized(optimizer)]
            for optimizer in phase.optimizers.values()
        ]
        scalars = phase.update(batch)

        assert "loss" in scalars
        for scalar in scalars.values():
            assert scalar.shape == ()
            assert not scalar.requires_grad
            assert torch.isfinite(scalar)
        for optimizer, parameters in zip(phase.optimizers.values(), before, strict=True):
            for old, new in zip(parameters, optimized(optimizer), strict=True):
                assert not torch.equal(old, new)
        for field in ("image", "target", "index"):
            assert torch.equal(getattr(batch, field), getattr(kept, field))


def test_a_batch_of_one_that_lacks_all_other_classes_stays_finite(setup: Setup, data: BiasedDataset) -> None:
    method = build(setup, data)
    for position, phase in enumerate(method.phases()):
        (batch,) = first_batches(method, data, 1, position)
        bias = None if batch.bias is None else batch.bias[:1]
        one = replace(batch, image=batch.image[:1], target=batch.target[:1], index=batch.index[:1], bias=bias)
        for step in range(3):
            try:
                scalars = phase.update(replace(one, step=step))
            except ValueError as error:
                if "more than 1 value per channel" in str(error):
                    pytest.skip("batch normalisation is not defined for one value per channel")
                raise
            assert all(torch.isfinite(scalar) for scalar in scalars.values()), phase.name
    assert all(torch.isfinite(tensor).all() for tensor in method.state_dict().values())


def test_predict_gives_the_logits_of_the_last_phase_first_branch(setup: Setup, data: BiasedDataset) -> None:
    method = build(setup, data).eval()
    image = data.test.all_images()[:7].float() / 255
    logits = method.predict(image)
    assert logits.shape == (7, data.num_classes)
    assert torch.equal(logits, next(iter(method.phases()[-1].logits(image).values())))
    for phase in method.phases():
        assert all(branch.shape == (7, data.num_classes) for branch in phase.logits(image).values())


def test_features_are_those_of_branches_that_are_evaluated(setup: Setup, data: BiasedDataset) -> None:
    method = build(setup, data).eval()
    image = data.test.all_images()[:7].float() / 255
    for phase in method.phases():
        features, branches = phase.features(image), list(phase.logits(image))
        assert branches[0] in features
        assert set(features) <= set(branches)
        assert all(values.ndim == 2 and len(values) == 7 for values in features.values())


def test_state_dict_is_complete(whole: Whole, data: BiasedDataset, name: str, data_root: Path) -> None:
    method = whole.method
    other = build(contract_setup(name, data_root, seed=2), data).eval()
    image = data.test.all_images()[:50].float() / 255
    assert not torch.equal(method.predict(image), other.predict(image))
    other.load_state_dict(method.state_dict())
    assert torch.equal(method.predict(image), other.predict(image))
    our_notes, their_notes = vars(method.sample_notes()), vars(other.sample_notes())
    for name, ours in our_notes.items():
        theirs = their_notes[name]
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.equal(ours.float().nan_to_num(-1), theirs.float().nan_to_num(-1))


def test_weights_do_not_depend_on_the_training_images(setup: Setup, data: BiasedDataset, whole: Whole) -> None:
    """Those trained on all images give the same predictions in a method that is built for every second of them."""
    method = whole.method
    half = replace(data, train=data.train.select(torch.arange(0, len(data.train), 2)))
    other, image = build(setup, half).eval(), data.test.all_images()[:50].float() / 255
    assert all(len(data.train) not in tensor.shape for tensor in whole.outcome.selected.values())
    other.load_weights(method.weights())
    assert torch.equal(other.predict(image), method.predict(image))

    again = build(setup, half).eval()
    again.load_weights(method.state_dict())  # as older files have it
    assert torch.equal(again.predict(image), other.predict(image))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_weights(dict(list(method.weights().items())[1:]))


def test_what_a_method_declares(setup: Setup, data: BiasedDataset) -> None:
    phases = build(setup, data).phases()
    assert setup.method.can_be_stacked == any(map(descent_of, phases))
    assert setup.method.can_be_captured == any(map(capturable_descent, phases))


def test_only_a_method_that_declares_it_needs_the_whole_batch(setup: Setup, data: BiasedDataset, whole: Whole) -> None:
    """Its loss on a batch is not the mean of the losses on the halves; networks as in an evaluation."""
    method = build(setup, data).eval()
    batch = replace(first_batches(method, data, 1)[0], step=10**6)  # after all that begins later in a training
    scale_learning_rates(optimizers_of(method), 0.0)

    def loss(*parts: slice) -> float:
        method.load_state_dict(whole.method.state_dict())
        halves = [replace(batch, **{key: values[part] for key, values in batch.tensors().items()}) for part in parts]
        update = method.phases()[-1].update
        return sum(float(update(half)["loss"]) for half in halves) / len(halves)

    half = BATCH_SIZE // 2
    as_one, as_halves = loss(slice(None)), loss(slice(half), slice(half, None))
    assert (as_one != pytest.approx(as_halves, rel=1e-4)) == method.needs_whole_batch


def test_stop_and_resume_is_exact(setup: Setup, data: BiasedDataset, whole: Whole, tmp_path: Path) -> None:
    """Interrupted twice: after 48 % of all updates, in the middle of a phase, and 90 %, between two evaluations."""
    middle, late = tmp_path / "middle.safetensors", tmp_path / "late.safetensors"
    for before, part, checkpoint in ((None, 0.48, middle), (middle, 0.42, late)):
        watch = Watch(interrupt_at=int(part * whole.updates))
        interrupted = trainer(setup, build(setup, data), data, watch, checkpoint)
        if before is not None:
            interrupted.restore(before)
        with pytest.raises(KeyboardInterrupt):
            interrupted.fit()
        assert checkpoint.exists()
    method = build(setup, data)
    resumed = trainer(setup, method, data, Watch(), tmp_path / "last.safetensors")
    resumed.restore(late)
    outcome = resumed.fit()

    assert outcome.history == whole.outcome.history
    assert_same(outcome.selected, whole.outcome.selected)
    assert_same(method.state_dict(), whole.method.state_dict())


def test_scrambled_bias_labels_change_nothing_unless_needed(setup: Setup, data: BiasedDataset, whole: Whole) -> None:
    scrambled = data.train.bias[torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))]
    other_data = replace(data, train=replace(data.train, bias=scrambled))
    method, outcome, _ = whole
    other, other_outcome = trained(setup, other_data)
    losses = [evaluation.losses for evaluation in outcome.history.evaluations]
    other_losses = [evaluation.losses for evaluation in other_outcome.history.evaluations]
    if method.needs_bias:
        assert losses != other_losses
    else:
        assert losses == other_losses
        assert_same(method.state_dict(), other.state_dict())


def test_per_sample_state_has_a_value_of_its_own_for_each_sample(data: BiasedDataset, whole: Whole) -> None:
    method = whole.method
    size = len(data.train)
    state = {key: values for key, values in method.state_dict().items() if values.shape[:1] == (size,)}
    losses = {key: values for key, values in state.items() if values.is_floating_point()}
    assert bool(losses) == (method.sample_notes().weight is not None)
    seen = min(size, NUM_STEPS * BATCH_SIZE)
    for key, values in losses.items():
        assert values.shape == (size,)
        assert len(set(values.tolist())) > 0.9 * min(seen, size - BATCH_SIZE), key
