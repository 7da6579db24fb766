"""Batch norm over all processes that train together, and the encoders whose computations they share."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from debiaslab.core.errors import UserError
from debiaslab.core.ranks import Ranks
from debiaslab.models.base import Encoder

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SharedBatchNorm(_BatchNorm):
    """Batch norm with the mean and variance of the whole batch, whose parts the `ranks` have; on any device.

    nn.SyncBatchNorm does the same, on GPUs alone.
    """

    ranks: Ranks

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            unchanged: Tensor = super().forward(input)
            return unchanged
        values, shape = input.to(self.weight.dtype), (-1, *[1] * (input.dim() - 2))
        dims = [dim for dim in range(input.dim()) if dim != 1]
        own_count = values.new_full((1,), input.numel() / input.shape[1])
        summed = self.ranks.sum(torch.cat([own_count, values.sum(dim=dims)]))
        count, total = torch.split(summed, [1, self.num_features])
        mean = total / count
        centred = values - mean.view(shape)
        variance = self.ranks.sum(centred.square().sum(dim=dims)) / count
        self._observe(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        normal: Tensor = centred * scale.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _observe(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics, as torch does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_encoders(networks: nn.Module, ranks: Ranks) -> None:
    """Let `ranks` share the computations of all encoders in `networks`, in place; parameters and buffers stay the same.

    Raises `UserError` for networks for which that would change the result.
    """
    encoders = [module for module in networks.modules() if isinstance(module, Encoder)]
    ranks.of_encoders = {parameter for encoder in encoders for parameter in encoder.parameters()}
    for encoder in encoders:
        on_cpu = all(parameter.device.type == "cpu" for parameter in encoder.parameters())
        for module in encoder.modules():
            _require_shareable(module)
            if type(module) in PLAIN and on_cpu:
                module.__class__ = SharedBatchNorm
                module.ranks = ranks  # type: ignore[assignment]
        if not on_cpu:
            nn.SyncBatchNorm.convert_sync_batchnorm(encoder)  # type: ignore[no-untyped-call]


def _require_shareable(module: nn.Module) -> None:
    """Raise `UserError` for layers that are not the same on parts of a batch."""
    kind: Any = type(module)
    is_plain = kind in PLAIN and module.affine and module.track_running_stats and module.momentum is not None
    own_kind = isinstance(module, _BatchNorm) and not (is_plain or kind in (SharedBatchNorm, nn.SyncBatchNorm))
    if own_kind or (isinstance(module, _DropoutNd) and module.p > 0):
        raise UserError(
            f"ranks: the network has {kind.__name__} layers, which cannot be computed in parts of a batch; leave ranks"
            " out, or choose another network with model.name"
        )
