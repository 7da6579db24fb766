"""Check the plain configuration of a run, and turn it into the objects that the run is built from."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from debiaslab.core.errors import UserError, require_known
from debiaslab.core.program import program_name
from debiaslab.core.settings import flatten, setting_names, settings
from debiaslab.datasets import BiasedDataset, DatasetConfig, dataset_config
from debiaslab.evaluation.history import require_defined
from debiaslab.evaluation.selection import BEST_INFERRED, parse_rule
from debiaslab.lockstep.graphs import require_capturable
from debiaslab.methods import Method, MethodConfig, Recipe, Task, method_class
from debiaslab.models import Architecture, Networks, architecture
from debiaslab.models.numerics import Numerics
from debiaslab.models.pretrained import NONE, InitialWeights, require_weights
from debiaslab.settings.declared import earlier_values, result_settings
from debiaslab.settings.place import device_of, require_graphs, require_ranks
from debiaslab.settings.recipes import default_selection, require_recipe, resolve
from debiaslab.settings.run import AUTO, RunSettings
from debiaslab.settings.unknown import require_known_settings
from debiaslab.settings.weights import INPUT, initial_weights, input_facts, load_weights, require_same_input, start_from
from debiaslab.training.checkpoint import (
    add_prefix,
    read_facts,
    require_same_identity,
    write_checkpoint,
)

# the settings of each ingredient; those of `data` depend on the data set
INGREDIENTS: dict[str, tuple[str, ...]] = {
    "data": (),
    "method": ("name", "recipe", "hparams"),
    "model": ("name", "pretrained", "hparams"),
}


@dataclass(frozen=True)
class Setup:
    """A checked configuration; nothing is loaded or built yet."""

    run: RunSettings
    data: DatasetConfig
    method: type[Method]
    method_config: MethodConfig
    model: Architecture
    pretrained: str  # `model.pretrained`
    recipe: Recipe
    config: Mapping[str, Any]

    def with_data(self) -> tuple["Setup", BiasedDataset]:
        """Load the data set, on the CPU, and return it with the setup in which "auto" rules are resolved.

        Raises `UserError` if it cannot be loaded, or does not fit the selection rules or the method.
        """
        setup = check(settle(self.config, load_once(self.data))) if is_open(self.config) else self
        return setup, setup.load_data()

    def load_data(self) -> BiasedDataset:
        """Load the data set as `with_data` does, for a setup without "auto" rules."""
        data = load_once(self.data)
        self.check_rules(data)
        if self.run.evaluate_images is not None:
            data = data.limit(self.run.evaluate_images)
        if self.method.needs_bias and not data.train.has_bias:
            name = self.config["method"]["name"]
            raise UserError(f"method {name} needs the bias labels of the training images, and {data.name} has none")
        if self.method.needs_valid_bias and (data.valid is None or not data.valid.has_bias):
            name, missing = self.config["method"]["name"], "images" if data.valid is None else "bias labels"
            raise UserError(
                f"method {name} needs validation images with bias labels, and {data.name} has no such {missing}; use"
                " data.protocol=holdout or iid"
            )
        return data

    def place(self, data: BiasedDataset, device: torch.device) -> BiasedDataset:
        """Put `data`, as returned by `load_data`, on `device`.

        Runs that use the same data at the same time, such as several seeds trained as one, share it.
        """
        key = (self.data, data.fingerprint, data.notes, self.run.evaluate_images, device, self.run.memory_bytes)
        there = _placed.get(key)
        if there is None:
            _placed[key] = there = data.to(device, self.run.memory_bytes)
        return there

    def check_rules(self, data: BiasedDataset | None = None) -> None:
        """Raise `UserError` for a selection rule that is unknown, or needs images or labels that `data` lacks."""
        hparams = {f"method.hparams.{name}": rule for name, rule in self.method_config.rules().items()}
        for setting, name in {"selection": self.run.selection, **hparams}.items():
            if name == AUTO:
                continue
            rule = parse_rule(name, data is None or data.valid is not None, setting)
            if name == BEST_INFERRED and (setting != "selection" or not self.method.infers_groups):
                method = self.config["method"]["name"]
                raise UserError(
                    f"{setting}={name}: method {method} infers no groups of validation images before that; use"
                    " best_valid_worst_class, or selection=best_valid_inferred with method=xrm"
                )
            if data is not None:
                require_defined(rule, data, setting)

    def build_method(self, data: BiasedDataset, device: torch.device, pretrained: bool = True) -> Method:
        """Build the method on `device`, with networks initialised from the run's seed and, if `pretrained`, from the
        configured weights (`model.pretrained`, then `start_from`).

        Raises `UserError` if these cannot be read, or the networks do not fit the data.
        """
        weights = initial_weights(self.pretrained, self.run.log_dir) if pretrained else None
        task = self._task(data)
        method = self._method(data.test.image_shape, task, weights)
        if pretrained and self.run.start_from is not None:
            start_from(Path(self.run.start_from), method)
        return method.to(device)

    def _task(self, data: BiasedDataset) -> Task:
        """What the method may know about `data`: the bias of training images only if it declares that it needs it."""
        if not len(data.train):  # test images alone
            return self._task_to_predict(data.num_classes)
        bias = data.train.bias.cpu() if self.method.needs_bias else None
        num_biases = data.num_biases if self.method.needs_bias else 1
        return Task(data.num_classes, data.train.target.cpu(), self.run.seed, bias, num_biases)

    def build_untrained(self, image_shape: tuple[int, ...], num_classes: int) -> Method:
        """The method without data, for weights to be loaded into: it predicts, and cannot be trained. On the CPU."""
        return self._method(image_shape, self._task_to_predict(num_classes), None)

    def _task_to_predict(self, num_classes: int) -> Task:
        return Task(num_classes, torch.arange(num_classes), self.run.seed)

    def _method(self, image_shape: tuple[int, ...], task: Task, weights: InitialWeights | None) -> Method:
        numerics = Numerics(self.run.precision, self.run.channels_last)
        networks = Networks(self.model, image_shape, task.num_classes, self.run.seed, weights, numerics)
        return self.method(self.method_config, networks, task)

    def check_graphs(self, method: Method) -> None:
        """Raise `UserError` if CUDA graphs are requested but not possible on this device or with `method`."""
        if self.run.cuda_graphs:
            require_graphs(self.device())
            require_capturable(method, self.config["method"]["name"])

    def check_ranks(self, run_here: bool = True) -> None:
        """Raise `UserError` if the run cannot be trained by as many processes as `ranks` says (`place.py`)."""
        require_ranks(self.run, self.method_config.batch_size, run_here)

    def device(self) -> torch.device:
        """The device of this process. Raises `UserError` if it is not available."""
        return device_of(self.run)

    def identity(self, data: BiasedDataset) -> dict[str, Any]:
        """All settings that the result depends on: a run can be resumed only with the same identity."""
        known = result_settings(self.config) | {"data.fingerprint": data.fingerprint}
        return self.architecture_identity(data) | known

    def architecture_identity(self, data: BiasedDataset) -> dict[str, Any]:
        """The settings that weights depend on: they can be loaded only with the same identity."""
        task = {f"data.{name}": self.config["data"].get(name) for name in ("name", "reverse")}
        classes = {} if data.class_names is None else {"data classes": list(data.class_names)}
        model = {f"model.{name}": value for name, value in flatten(self.config["model"]) if name != "pretrained"}
        return {"method.name": self.config["method"]["name"]} | task | classes | model

    def save_weights(
        self, path: Path, state: Mapping[str, Tensor], data: BiasedDataset, facts: Mapping[str, Any]
    ) -> None:
        """Write a method's weights, `state`, with `facts` about it. Raises `UserError` if it cannot be written."""
        own: dict[str, Any] = {"architecture": self.architecture_identity(data), INPUT: input_facts(data)}
        write_checkpoint(path, add_prefix("method", state), {**own, **facts})

    def check_weights(self, path: Path, data: BiasedDataset) -> None:
        """Raise `UserError` if the weights in `path` are missing, or of another method, data set or architecture."""
        facts = read_facts(path)
        if "architecture" not in facts:
            raise UserError(f"{path} is the state of an unfinished run; continue it with resume={path.parent}")
        require_same_identity(path, facts["architecture"], self.architecture_identity(data))

    def load_weights(self, path: Path, method: Method, data: BiasedDataset) -> dict[str, Any]:
        """Load the weights in `path` into `method` and return the facts about them. Raises as `check_weights`."""
        self.check_weights(path, data)
        if (given := read_facts(path).get(INPUT)) is not None:  # not in weights of earlier code
            require_same_input(path, given, data)
        return load_weights(path, method)

    def check_resume(self, path: Path, data: BiasedDataset) -> None:
        """Raise `UserError` if the state in `path` is missing, or belongs to a run with another identity."""
        if not path.parent.is_dir():
            raise UserError(f"nothing to resume in resume={path.parent}: there is no such folder; give a run's folder")
        if not path.exists():
            raise UserError(
                f"nothing to resume in resume={path.parent}: no {path.name}; the run is complete, or has not started"
            )
        facts = read_facts(path)
        if "identity" not in facts:
            raise UserError(f"{path} is not the state of an unfinished run")
        require_same_identity(path, earlier_values(self.config) | facts["identity"], self.identity(data))


# kept while a run uses them; the key has fingerprint and notes, as the files that `config.load` reads may change
_placed: WeakValueDictionary[tuple[Hashable, ...], BiasedDataset] = WeakValueDictionary()


@lru_cache(maxsize=1)
def load_once(config: DatasetConfig) -> BiasedDataset:
    """Load the data set of `config`; cached, as it is needed to check a run and again to train it."""
    return config.load()


def check_data(config: Mapping[str, Any]) -> tuple[RunSettings, DatasetConfig]:
    """The part of the configuration that needs no method. Raises `UserError` for whatever is wrong in it."""
    require_known_settings(config, [*setting_names(RunSettings), *INGREDIENTS], list(INGREDIENTS))
    run = settings(RunSettings, {name: value for name, value in config.items() if name not in INGREDIENTS}, "")
    return run, dataset_config(config["data"])


def is_open(config: Mapping[str, Any]) -> bool:
    """Whether a selection rule of `config` is still "auto"."""
    return AUTO in (config["selection"], *section(config, "method").values())


def settle(config: Mapping[str, Any], data: BiasedDataset) -> Mapping[str, Any]:
    """Replace "auto" in `config` by the selection rules that the loaded `data` support."""
    if not is_open(config):
        return config
    method = config["method"]
    images = data.selection_images(str(config["data"].get("protocol")))
    rules = resolve(method["name"], config["data"], method["recipe"], images).defaults
    hparams = {name: rules[name] if value == AUTO else value for name, value in method["hparams"].items()}
    selection = config["selection"]
    if selection == AUTO:
        selection = default_selection(config["data"], images)
    return {**config, "selection": selection, "method": {**method, "hparams": hparams}}


def check(config: Mapping[str, Any]) -> Setup:
    """Check the configuration `config`, a nested mapping from any source; nothing is read, built or changed.

    Raises `UserError` for any mistake.
    """
    run, data = check_data(config)
    for ingredient, names in INGREDIENTS.items():
        if not names:
            continue
        inner = {hparam: f"{ingredient}.hparams.{hparam}" for hparam in section(config, ingredient)}
        for name in config[ingredient]:
            require_known("setting", name, names, prefix=f"{ingredient}.", elsewhere=inner)
    method = method_class(config["method"]["name"])
    require_recipe(config["method"]["name"], config["data"]["name"])
    method_config = settings(method.Config, section(config, "method"), "method.hparams.")
    model = architecture(config["model"]["name"], section(config, "model"))
    pretrained = config["model"].get("pretrained", NONE)
    require_weights(config["model"]["name"], model, pretrained)
    recipe = resolve(config["method"]["name"], config["data"], config["method"]["recipe"]).recipe
    setup = Setup(run, data, method, method_config, model, pretrained, recipe, config)
    setup.check_rules()
    require_effect(method_config, config)
    if (cause := method_config.needs_start()) is not None and run.start_from is None:
        raise UserError(f"{cause} needs trained weights; type {program_name()} retrain RUN, or set start_from=RUN")
    return setup


def require_effect(method_config: MethodConfig, config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a hyper-parameter that the user changed and that has no effect because of another one."""
    method, own = config["method"], section(config, "method")
    usual = resolve(method["name"], config["data"], method["recipe"]).of_length(own)
    for switch, names in method_config.without_effect().items():
        for name in names:
            if own.get(name, usual[name]) != usual[name]:
                setting = f"method.hparams.{name}={own[name]!r}"
                raise UserError(f"{setting} has no effect with method.hparams.{switch}; leave it out or change that")


def section(config: Mapping[str, Any], ingredient: str) -> Mapping[str, Any]:
    """`config[ingredient]["hparams"]`; raises `UserError` if the user has replaced it by something else."""
    hparams = config[ingredient]["hparams"]
    if not isinstance(hparams, Mapping):
        raise UserError(f"{ingredient}.hparams={hparams!r}: must be settings; write {ingredient}.hparams.NAME=VALUE")
    return hparams
