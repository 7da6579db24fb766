"""Loss functions of the papers, as pure functions."""

from torch import Tensor
from torch.nn.functional import log_softmax, softmax


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 times the cross-entropy between softened predictions, averaged over the batch (Hinton et al., 2015).

    Logits [B, C] each; returns a scalar. Gradients flow to both arguments: detach the teacher's.
    """
    soft_targets = softmax(teacher_logits / temperature, dim=1)
    log_probabilities = log_softmax(student_logits / temperature, dim=1)
    return -(soft_targets * log_probabilities).sum(dim=1).mean() * temperature**2
