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

# optimiser methods that PyTorch wraps, in addition to `step`
WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def _plain(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """The optimiser class `kind` without the wrappers that PyTorch puts around its methods for torch.compile.

    Nothing is compiled here, and the wrappers import the compiler, which takes more than a second in every run. The
    other thing they do is done here: `step` runs without gradients.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


def _adamp(parameters: Iterable[nn.Parameter], **rates: Any) -> Optimizer:
    """AdamP (Heo et al., ICLR 2021). It synchronises with the device once or twice per weight tensor in every step."""
    try:
        from adamp import AdamP  # an optional package
    except ImportError:
        raise UserError("optimizer 'adamp' needs the package adamp: pip install adamp, or choose adam") from None
    return _plain(AdamP)(parameters, **rates)


# fused: one kernel for all parameters, on CPU and GPU alike
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": partial(_plain(Adam), fused=True),
    "adamp": _adamp,
    "adamw": partial(_plain(AdamW), fused=True),
    "sgd": partial(_plain(SGD), momentum=0.9, fused=True),
    "sgd_without_momentum": partial(_plain(SGD), fused=True),
}

OPTIMIZER = choice(OPTIMIZERS)  # the check of settings that name an optimiser


def build_optimizer(name: str, modules: Iterable[nn.Module], learning_rate: float, weight_decay: float) -> Optimizer:
    """Build the optimiser `name` over all trainable parameters of `modules`; raises `UserError` for an unknown name."""
    require_known("optimizer", name, OPTIMIZERS)
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    optimizer = OPTIMIZERS[name](parameters, lr=learning_rate, weight_decay=weight_decay)
    for group in optimizer.param_groups:
        group["initial_lr"] = learning_rate
    return optimizer


def scale_learning_rates(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set every learning rate to `factor` times its initial value."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]
