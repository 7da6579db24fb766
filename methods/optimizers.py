"""Optimisers, by name."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from core.errors import UserError, require_known


def _adamp(parameters: Iterable[nn.Parameter], **rates: Any) -> Optimizer:
    """AdamP (Heo et al., ICLR 2021). Its code waits for the device in every step, once or twice per weight tensor."""
    try:
        from adamp import AdamP  # imported here: nothing else needs the package
    except ImportError:
        raise UserError("optimizer 'adamp' needs the package adamp: pip install adamp, or choose adam") from None
    optimizer: Optimizer = AdamP(parameters, **rates)
    return optimizer


# fused: one kernel for all parameters, on CPU and GPU alike
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": lambda parameters, **rates: Adam(parameters, fused=True, **rates),
    "adamp": _adamp,
    "adamw": lambda parameters, **rates: AdamW(parameters, fused=True, **rates),
    "sgd": lambda parameters, **rates: SGD(parameters, momentum=0.9, fused=True, **rates),
}


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
