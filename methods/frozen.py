"""What constant networks say of the training images, computed once."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from methods.base import Batch


class FrozenOutputs:
    """The outputs of `networks` that no longer change, of batches of training images.

    They are computed for every batch, without gradient, until `keep` has computed them for all training images; from
    then on they are looked up. They are a function of the weights, so no checkpoint needs them.
    """

    def __init__(self, compute: Callable[[Tensor], tuple[Tensor, ...]], networks: Sequence[nn.Module]) -> None:
        """`compute` maps images [B, C, H, W] to outputs [B, ...] by `networks` alone."""
        self.compute, self.networks = compute, networks
        self.kept: tuple[Tensor, ...] | None = None

    @torch.no_grad()
    def keep(self, training_images: Iterable[Batch]) -> None:
        """Compute the outputs of all training images, given in order; the networks are in the modes of the training.

        Does nothing where an output depends on the batch or on chance: with batch norm or dropout in train mode.
        """
        modules = [module for network in self.networks for module in network.modules()]
        if any(module.training and isinstance(module, (_BatchNorm, _DropoutNd)) for module in modules):
            self.kept = None
            return
        parts = [self.compute(batch.image) for batch in training_images]
        self.kept = tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))

    @torch.no_grad()
    def __call__(self, batch: Batch) -> tuple[Tensor, ...]:
        """The outputs [B, ...] of the images of `batch`."""
        if self.kept is None:
            return self.compute(batch.image)
        return tuple(outputs.index_select(0, batch.index) for outputs in self.kept)
