"""Optimisers, by name."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from debiaslab.core.errors import UserError, require_known
from debiaslab.core.settings import choice

# methods of PyTorch's optimisers that it wraps, beside `step`
WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def _plain(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """`kind` without what PyTorch wraps its methods in for those who compile their training.

    Nothing is compiled here, and the wrappers import the compiler: more than a second of every run. What else they do
    is done here: no step is recorded for a gradient.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


def _adamp(parameters: Iterable[nn.Parameter], **rates: Any) -> Optimizer:
    """AdamP (Heo et al., ICLR 2021). Its code waits for the device in every step, once or twice per weight tensor."""
    try:
        from adamp import AdamP  # imported here: nothing else needs the package
    except ImportError:
        raise UserError("optimizer 'adamp' needs the package adamp: pip install adamp, or choose adam") from None
    return _plain(AdamP)(parameters, **rates)


# fused: one kernel for all parameters, on CPU and GPU alike
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": partial(_plain(Adam), fused=True),
    "adamp": _adamp,
    "adamw": partial(_plain(AdamW), fused=True),
    "sgd": partial(_plain(SGD), momentum=0.9, fused=True),
}

OPTIMIZER = choice(OPTIMIZERS)  # the check of a setting that names one


def build_optimizer(name: str, modules: Iterable[nn.Module], learning_rate: float, weight_decay: float) -> Optimizer:
    """The optimiser `name` over all trainable parameters of `modules`. Raises `UserError` for an unknown name."""
    require_known("optimizer", name, OPTIMIZERS)
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    optimizer = OPTIMIZERS[name](parameters, lr=learning_rate, weight_decay=weight_decay)
    for group in optimizer.param_groups:
        group["initial_lr"] = learning_rate
    return optimizer


def scale_learning_rates(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set every learning rate to `factor` times the one that the optimiser was built with."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]
