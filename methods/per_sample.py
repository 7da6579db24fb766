"""State per training sample: running losses, and the weights that LfF and DisEnt derive from them."""

from typing import Any

import torch
from torch import Tensor, nn

ROW_LENGTH = 256  # samples whose largest loss is found at once


class SampleLossEMA(nn.Module):
    """Exponential moving average of the loss of each training sample, float32 [N]; the first value is the loss itself.

    `epsilon` is added to the class maxima that `normalized` divides by. The values are kept class by class, in rows of
    one class each, so that the maxima are those of rows: `place` is where in the rows each sample has its own.
    """

    rows: Tensor
    place: Tensor
    class_of_row: Tensor
    seen: Tensor
    target: Tensor

    def __init__(self, target: Tensor, num_classes: int, decay: float, epsilon: float = 0.0) -> None:
        """`target` int64 [N], the class of each training sample."""
        super().__init__()
        self.num_classes, self.decay, self.epsilon = num_classes, decay, epsilon
        sizes = torch.bincount(target, minlength=num_classes)
        rows_of_class = sizes.add(ROW_LENGTH - 1).div(ROW_LENGTH, rounding_mode="floor")
        by_class = target.argsort(stable=True)
        unused = rows_of_class * ROW_LENGTH - sizes  # at the end of a class
        place = torch.empty_like(target)
        place[by_class] = torch.arange(len(target)) + (unused.cumsum(0) - unused)[target[by_class]]
        class_of_row = torch.arange(num_classes).repeat_interleave(rows_of_class)
        self.register_buffer("rows", torch.zeros(len(class_of_row), ROW_LENGTH), persistent=False)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("class_of_row", class_of_row, persistent=False)
        self.register_buffer("seen", torch.zeros(len(target), dtype=torch.bool))
        self.register_buffer("target", target.clone(), persistent=False)

    @property
    def value(self) -> Tensor:
        """float32 [N], in the order of the training samples."""
        return self.rows.view(-1).index_select(0, self.place)

    @torch.no_grad()
    def update(self, index: Tensor, loss: Tensor) -> None:
        """Take in the losses [B] of the samples at `index`, int64 [B]."""
        if loss.shape != index.shape:
            raise ValueError(f"a loss of each sample is needed: {list(loss.shape)} for {list(index.shape)} samples")
        values, place = self.rows.view(-1), self.place.index_select(0, index)
        weight = 1 - self.decay * self.seen.index_select(0, index)
        values.index_put_((place,), self.decay * values.index_select(0, place) + weight * loss)
        self.seen.index_fill_(0, index, True)

    def class_maxima(self) -> Tensor:
        """The largest value of each class, [num_classes]; 0 in a class without a positive one."""
        largest = self.rows.new_zeros(self.num_classes)
        return largest.scatter_reduce_(0, self.class_of_row, self.rows.amax(dim=1), "amax")

    def normalized(self, index: Tensor) -> Tensor:
        """[B] in [0, 1]: each value divided by the largest of its class; 0 in a class without a positive value."""
        largest = (self.class_maxima() + self.epsilon).clamp_min_(torch.finfo(self.rows.dtype).tiny)
        value = self.rows.view(-1).index_select(0, self.place.index_select(0, index))
        return value / largest.index_select(0, self.target.index_select(0, index))

    # ---- a checkpoint has the values in the order of the samples

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "value"] = self.value

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str], *others: Any
    ) -> None:
        value = state_dict.pop(prefix + "value", None)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *others)
        if value is None:
            missing_keys.append(prefix + "value")
        else:
            self.rows.view(-1).index_copy_(0, self.place, value.to(self.rows))


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
        everywhere = torch.arange(len(self.biased.seen), device=self.biased.seen.device)
        return self._weights(everywhere).masked_fill(~self.biased.seen, float("nan"))

    def _weights(self, index: Tensor) -> Tensor:
        biased, debiased = self.biased.normalized(index), self.debiased.normalized(index)
        return biased / (biased + debiased + 1e-8)
