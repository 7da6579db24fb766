"""State per training sample: running losses, and the weights that LfF and DisEnt derive from them."""

import torch
from torch import Tensor, nn


class SampleLossEMA(nn.Module):
    """Exponential moving average of the loss of each training sample, float32 [N]; the first value is the loss itself.

    `epsilon` is added to the class maxima that `normalized` divides by.
    """

    value: Tensor
    seen: Tensor
    target: Tensor

    def __init__(self, target: Tensor, num_classes: int, decay: float, epsilon: float = 0.0) -> None:
        """`target` int64 [N], the class of each training sample."""
        super().__init__()
        self.num_classes, self.decay, self.epsilon = num_classes, decay, epsilon
        self.register_buffer("value", torch.zeros(len(target)))
        self.register_buffer("seen", torch.zeros(len(target), dtype=torch.bool))
        self.register_buffer("target", target.clone(), persistent=False)

    @torch.no_grad()
    def update(self, index: Tensor, loss: Tensor) -> None:
        """Take in the losses [B] of the samples at `index`, int64 [B]."""
        if loss.shape != index.shape:
            raise ValueError(f"a loss of each sample is needed: {list(loss.shape)} for {list(index.shape)} samples")
        decay = self.decay * self.seen[index]
        self.value[index] = self.decay * self.value[index] + (1 - decay) * loss
        self.seen.index_fill_(0, index, True)

    def normalized(self, index: Tensor | slice) -> Tensor:
        """[B] in [0, 1]: each value divided by the largest of its class; 0 in a class without a positive value."""
        largest = self.value.new_zeros(self.num_classes).scatter_reduce(0, self.target, self.value, "amax")
        largest = (largest + self.epsilon).clamp_min(torch.finfo(self.value.dtype).tiny)
        return self.value[index] / largest[self.target[index]]


class RelativeDifficulty(nn.Module):
    """W(x) of LfF, eq. (2): near 1 for a sample that only the biased network fails on, near 0 for the opposite.

    Computed from the running cross-entropies of the biased and the debiased network, each normalised by its class.
    """

    def __init__(self, target: Tensor, num_classes: int, decay: float, biased_epsilon: float = 0.0) -> None:
        """`target` int64 [N], the class of each training sample."""
        super().__init__()
        self.biased = SampleLossEMA(target, num_classes, decay, biased_epsilon)
        self.debiased = SampleLossEMA(target, num_classes, decay)

    def update(self, index: Tensor, biased_loss: Tensor, debiased_loss: Tensor) -> Tensor:
        """Take in the losses [B] of the samples at `index`, int64 [B]; returns their weights [B], without gradient."""
        self.biased.update(index, biased_loss)
        self.debiased.update(index, debiased_loss)
        return self._weights(index)

    def sample_weights(self) -> Tensor:
        """The weights [N] of all samples as of now; not-a-number for those that no batch has contained yet."""
        return self._weights(slice(None)).masked_fill(~self.biased.seen, float("nan"))

    def _weights(self, index: Tensor | slice) -> Tensor:
        biased, debiased = self.biased.normalized(index), self.debiased.normalized(index)
        return biased / (biased + debiased + 1e-8)
