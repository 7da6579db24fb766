"""Estimators of the Hilbert-Schmidt independence criterion with RBF kernels, as pure functions.

HSIC is 0 if and only if the two variables are independent. The estimators are differentiable in both arguments and do
not synchronise with the device.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def unbiased_hsic(x: Tensor, y: Tensor, sigma_x: float | Tensor, sigma_y: float | Tensor) -> Tensor:
    """The unbiased estimator (Song et al., JMLR 2012, eq. 5) from n pairs: x [n, p], y [n, q]; a scalar.

    It can be negative. For n < 4, where it is undefined, returns 0 without a gradient. Computed as the mean product of
    the U-centred kernels (Szekely and Rizzo, 2014), which is the same without the cancellation of large sums.
    """
    n = len(x)
    if n < 4:
        return x.new_zeros(())
    return (u_center(rbf_kernel(x, sigma_x)) * u_center(rbf_kernel(y, sigma_y))).sum() / (n * (n - 3))


def biased_hsic(x: Tensor, y: Tensor, sigma_x: float | Tensor, sigma_y: float | Tensor) -> Tensor:
    """The biased estimator tr(KHLH) / (n - 1)^2 (Gretton et al., ALT 2005) from n pairs: x [n, p], y [n, q]; a scalar.

    It is never negative. For n < 2, where it is undefined, returns 0 without a gradient.
    """
    n = len(x)
    if n < 2:
        return x.new_zeros(())
    return (center(rbf_kernel(x, sigma_x)) * center(rbf_kernel(y, sigma_y))).sum() / (n - 1) ** 2


ESTIMATORS: dict[str, Callable[[Tensor, Tensor, float | Tensor, float | Tensor], Tensor]] = {
    "unbiased": unbiased_hsic,
    "biased": biased_hsic,
}


def rbf_kernel(x: Tensor, sigma: float | Tensor) -> Tensor:
    """exp(-|x_i - x_j|^2 / (2 sigma^2)), [n, n], for x [n, p]."""
    return torch.exp(squared_distances(x) / (-2 * sigma**2))


def squared_distances(x: Tensor) -> Tensor:
    """|x_i - x_j|^2, [n, n], for x [n, p]."""
    gram = x @ x.T
    squares = gram.diagonal()
    return (squares[:, None] + squares - 2 * gram).clamp(min=0)


def center(kernel: Tensor) -> Tensor:
    """HKH for a symmetric kernel matrix K [n, n], with H = I - 1/n."""
    rows = kernel.mean(dim=0)
    return kernel - rows - rows[:, None] + rows.mean()


def u_center(kernel: Tensor) -> Tensor:
    """U-centre a symmetric kernel matrix [n, n], n > 2: its diagonal becomes 0 and its rows and columns sum to 0."""
    n = len(kernel)
    off_diagonal = 1 - torch.eye(n, dtype=kernel.dtype, device=kernel.device)
    rows = (kernel * off_diagonal).sum(dim=0) / (n - 2)
    return (kernel - rows - rows[:, None] + rows.sum() / (n - 1)) * off_diagonal


def median_squared_distance(x: Tensor) -> Tensor:
    """The median of |x_i - x_j|^2 over the pairs i != j, a scalar, for x [n, p]; 0 for n < 2."""
    n = len(x)
    if n < 2:
        return x.new_zeros(())
    first, second = torch.tril_indices(n, n, -1, device=x.device)
    return squared_distances(x)[first, second].median()
