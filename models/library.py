"""Networks of torchvision and timm without their last layer, which others have published weights for."""

from dataclasses import dataclass

from torch import Tensor, nn

from debiaslab.core.settings import setting
from debiaslab.models.base import Architecture, PoolingEncoder


@dataclass(frozen=True)
class Published:
    """The network called `name` in `library`, "torchvision" or "timm", for images of `channels` channels.

    In files of weights, the names of its last layer begin with one of `head`.
    """

    library: str
    name: str
    head: tuple[str, ...]
    channels: int = 3

    @property
    def title(self) -> str:
        return f"{self.library}'s {self.name}"


class LibraryEncoder(PoolingEncoder):
    """A network of a library without its last layer: `body`, whose parameters have the library's names.

    The body computes the feature map, which is pooled here, or the features. With `fixed`, the encoder is always in
    eval mode: its batch norm uses the stored running statistics unchanged.
    """

    def __init__(self, body: nn.Module, feature_dim: int, published: Published, *, fixed: bool = False) -> None:
        super().__init__(body, feature_dim)
        self.published = published
        self.fixed = fixed

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map if feature_map.dim() == 2 else super().pool(feature_map)

    def train(self, mode: bool = True) -> "LibraryEncoder":
        super().train(mode and not self.fixed)
        return self


@dataclass(frozen=True, kw_only=True)
class LibraryNetwork(Architecture):
    """Base class of the architectures of libraries."""

    frozen: bool = setting(False, "freeze the encoder; only the heads are trained")

    @property
    def has_published_weights(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class BatchNormNetwork(LibraryNetwork):
    """Base class of those with batch norm."""

    fixed_statistics: bool = setting(
        True, "batch norm of a frozen encoder uses its running statistics; False, as in LfF's code: batch statistics"
    )
