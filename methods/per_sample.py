"""Per-sample state: running losses, and the sample weights that LfF and DisEnt derive from them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from debiaslab.methods.base import SampleNotes

ROW_LENGTH = 256  # samples per row
MANY_ROWS = 4_096  # from here on the maxima of rows are kept, and renewed where a step has changed them


class RunningLosses(nn.Module):
    """Exponential moving averages of K losses per training sample, float32; the first value is the loss itself.

    The values are stored in rows that contain samples of one class each, so that class maxima reduce to row maxima:
    `place` is each sample's position in the flattened rows. With many rows, about a million samples, `maxima` are those
    of the rows: then no step reads all samples.
    """

    rows: Tensor
    maxima: Tensor
    place: Tensor
    class_of_row: Tensor
    seen: Tensor
    target: Tensor
    least: Tensor
    epsilon: Tensor

    def __init__(self, target: Tensor, num_classes: int, decay: float, epsilons: Mapping[str, float]) -> None:
        """`target` int64 [N]: the class of each training sample; `epsilons`: by name of the loss, a constant that is
        added to the class maxima that `normalize` divides by."""
        super().__init__()
        self.names, self.decay = list(epsilons), decay
        sizes = torch.bincount(target, minlength=num_classes)
        rows_of_class = sizes.add(ROW_LENGTH - 1).div(ROW_LENGTH, rounding_mode="floor")
        by_class = target.argsort(stable=True)
        unused = rows_of_class * ROW_LENGTH - sizes  # padding at the end of each class
        place = torch.empty_like(target)
        place[by_class] = torch.arange(len(target)) + (unused.cumsum(0) - unused)[target[by_class]]
        class_of_row = torch.arange(num_classes).repeat_interleave(rows_of_class)
        num_losses, smallest = len(self.names), torch.finfo(torch.float32).tiny
        state = {
            "rows": torch.zeros(num_losses, len(class_of_row), ROW_LENGTH),
            "place": place,
            "class_of_row": class_of_row.expand(num_losses, -1).contiguous(),
            "seen": torch.zeros(len(target)),  # 1 for samples that have been in a batch, else 0
            "target": target.clone(),
            "least": torch.full((num_losses, num_classes), smallest),
            "epsilon": torch.tensor(list(epsilons.values()))[:, None],
        }
        self.keeps_maxima = len(class_of_row) >= MANY_ROWS
        if self.keeps_maxima:
            state["maxima"] = torch.zeros(num_losses, len(class_of_row))
        for name, values in state.items():
            self.register_buffer(name, values, persistent=False)

    @property
    def values(self) -> Tensor:
        """float32 [K, N], in the order of the training samples."""
        return self._values_at(self.place)

    @torch.no_grad()
    def update(self, index: Tensor, losses: Tensor) -> Tensor:
        """Update the averages of the samples at `index`, int64 [B], with their losses [K, B]; returns them [K, B]."""
        if losses.shape != (len(self.names), *index.shape):
            raise ValueError(f"need one loss per sample: got {list(losses.shape)} for {list(index.shape)} samples")
        place = self.place.index_select(0, index)
        old_weight = self.decay * self.seen.index_select(0, index)
        values = torch.lerp(losses, self._values_at(place), old_weight)
        self.rows.flatten(1).t().index_put_((place,), values.t())  # works under vmap, unlike index_copy_
        self.seen.index_fill_(0, index, 1)
        if self.keeps_maxima:
            row = place // ROW_LENGTH
            self.maxima.t().index_put_((row,), self.rows.index_select(1, row).amax(dim=2).t())
        return values

    def class_maxima(self) -> Tensor:
        """The largest value of each class, [K, num_classes]; the smallest normal float where none is positive."""
        maxima = self.maxima if self.keeps_maxima else self.rows.amax(dim=2)
        return self.least.scatter_reduce(1, self.class_of_row, maxima, "amax")

    def normalize(self, index: Tensor, values: Tensor | None = None) -> Tensor:
        """Divide the values of the samples at `index`, int64 [B], by their class maxima: [K, B] in [0, 1].

        0 in a class without positive values. Pass the `values` [K, B] if you have them already.
        """
        if values is None:
            values = self._values_at(self.place.index_select(0, index))
        largest = self.class_maxima() + self.epsilon
        return values / largest.index_select(1, self.target.index_select(0, index))

    def _values_at(self, place: Tensor) -> Tensor:
        return self.rows.flatten(1).index_select(1, place)

    # ---- checkpoints contain, for each loss, the values in the order of the samples and which samples have been seen

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, values in zip(self.names, self.values, strict=True):
            destination[f"{prefix}{name}.value"], destination[f"{prefix}{name}.seen"] = values, self.seen.bool()

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for number, name in enumerate(self.names):
            keys = [f"{prefix}{name}.{key}" for key in ("value", "seen")]
            found = {key: state_dict.pop(key) for key in keys if key in state_dict}
            missing_keys += [key for key in keys if key not in found]
            wrong = [key for key, values in found.items() if values.shape != self.seen.shape]
            error_msgs += [f"{key} has {len(found[key])} samples, not {len(self.seen)}" for key in wrong]
            if len(found) == len(keys) and not wrong:
                value, seen = found.values()
                self.rows[number].view(-1).index_copy_(0, self.place, value.to(self.rows))
                self.seen.copy_(seen)
        if self.keeps_maxima:
            self.maxima.copy_(self.rows.amax(dim=2))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class RelativeDifficulty(RunningLosses):
    """W(x) of LfF, eq. (2): near 1 for samples that only the biased network fails on, near 0 for the opposite.

    Computed from the running cross-entropies of the biased and the debiased network, each normalised per class.
    """

    def __init__(self, target: Tensor, num_classes: int, decay: float, biased_epsilon: float = 0.0) -> None:
        """`target` int64 [N], the class of each training sample."""
        super().__init__(target, num_classes, decay, {"biased": biased_epsilon, "debiased": 0.0})

    @torch.no_grad()
    def weigh(self, index: Tensor, biased_loss: Tensor, debiased_loss: Tensor) -> Tensor:
        """Update with the losses [B] of the samples at `index`, int64 [B]; returns their weights [B], no gradient."""
        values = self.update(index, torch.stack((biased_loss, debiased_loss)))
        return _relative(self.normalize(index, values))

    def sample_weights(self) -> Tensor:
        """The current weights [N] of all samples; NaN for those that have not been in a batch yet."""
        everywhere = torch.arange(len(self.seen), device=self.seen.device)
        return _relative(self.normalize(everywhere)).masked_fill(self.seen == 0, float("nan"))

    def notes(self) -> SampleNotes:
        """The weights of all samples; those above 1/2 count as bias-conflicting."""
        weight = self.sample_weights()
        return SampleNotes(weight=weight, conflicting=weight > 0.5)


def _relative(losses: Tensor) -> Tensor:
    """The biased network's share [B] of the sum of both losses, [2, B]."""
    return losses[0] / (losses.sum(dim=0) + 1e-8)
