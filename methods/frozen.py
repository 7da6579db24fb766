"""Cached outputs of frozen networks."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from debiaslab.methods.phase import Batch

MOST_BYTES = 2 * 2**30  # of cached outputs; constant, as cached outputs can differ from computed ones in rounding


class FrozenOutputs(nn.Module):
    """The outputs of frozen networks for batches of training images.

    They are computed for every batch, without gradients, until `keep` has cached them for all training images. The
    cache can be recomputed from the weights, so checkpoints do not contain it.
    """

    def __init__(self, compute: Callable[[Tensor], tuple[Tensor, ...]], networks: Sequence[nn.Module]) -> None:
        """`compute` maps images [B, C, H, W] to outputs [B, ...], using only `networks`, submodules of the method."""
        super().__init__()
        self.compute, self.networks = compute, tuple(networks)
        self.num_kept = 0

    @torch.no_grad()
    def keep(self, training_images: Iterable[Batch]) -> None:
        """Cache the outputs for all training images, given in order; the networks are in the modes of the phase.

        Does nothing if they need more than 2 GiB, or depend on the rest of the batch or on chance: with batch norm or
        dropout in train mode.
        """
        self.num_kept = 0
        modules = [module for network in self.networks for module in network.modules()]
        if any(module.training and isinstance(module, (_BatchNorm, _DropoutNd)) for module in modules):
            return
        parts, needed = [], 0
        for batch in training_images:
            parts.append(self.compute(batch.image))
            needed += sum(outputs.nbytes for outputs in parts[-1])
            if needed > MOST_BYTES:
                return
        kept = [torch.cat(outputs) for outputs in zip(*parts, strict=True)]
        for number, outputs in enumerate(kept):
            self.register_buffer(f"kept_{number}", outputs, persistent=False)
        self.num_kept = len(kept)

    @torch.no_grad()
    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        """The outputs [B, ...] of the images of `batch`."""
        if self.num_kept == 0:
            return self.compute(batch.image)
        kept = (self.get_buffer(f"kept_{number}") for number in range(self.num_kept))
        return tuple(outputs.index_select(0, batch.index) for outputs in kept)
