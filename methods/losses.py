"""Loss functions of the papers, as pure functions."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, softmax


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 times the cross-entropy between softened predictions, averaged over the batch (Hinton et al., 2015).

    Logits [B, C] each; returns a scalar. Gradients flow into both arguments: detach the teacher's logits.
    """
    soft_targets = softmax(teacher_logits / temperature, dim=1)
    log_probabilities = log_softmax(student_logits / temperature, dim=1)
    return -(soft_targets * log_probabilities).sum(dim=1).mean() * temperature**2


def generalized_cross_entropy(logits: Tensor, target: Tensor, q: float) -> Tensor:
    """CE * q * p_target^q per sample, without gradient through the probability p_target (Zhang and Sabuncu, 2018).

    It has the gradient of generalised cross-entropy but not its value, as in the LfF code. Logits [B, C], target int64
    [B]; returns [B].
    """
    loss = cross_entropy(logits, target, reduction="none")
    return loss * (q * (-q * loss.detach()).exp())


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` [B] where `mask`, bool [B], is True; 0 without gradient if it never is."""
    return values.where(mask, 0).sum() / mask.sum().clamp_min(1)


def bias_amplifying_loss(logits: Tensor, target: Tensor, q: float, kept: Tensor | None) -> Tensor:
    """The loss of a network that should learn the bias. Logits [B, C], target int64 [B]; returns a scalar.

    Mean generalised cross-entropy (LfF) or, given the samples `kept` as bias-aligned, bool [B], the mean cross-entropy
    of those (BiasEnsemble).
    """
    if kept is None:
        return generalized_cross_entropy(logits, target, q).mean()
    return masked_mean(cross_entropy(logits, target, reduction="none"), kept)


def membership(index: Tensor, size: int, values: Tensor) -> Tensor:
    """[B, size] of the dtype of `values`: 1 in the column `index`, int64 [B], of each row, else 0.

    As `one_hot`, which reads from the device to check `index`.
    """
    return (index[:, None] == torch.arange(size, device=index.device)).to(values.dtype)


def of_class(values: Tensor, target: Tensor) -> Tensor:
    """The value of each sample's class, [B], of values [B, num_classes] for the classes `target`, int64 [B]."""
    return values.gather(1, target[:, None])[:, 0]
