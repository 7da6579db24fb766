"""What the conflicting images of a class have in common: clusters of them."""

from collections import Counter

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

NO_CLUSTER = -1
MOST_CLUSTERS = 5  # of a class
LEAST_MEMBERS = 5  # of a cluster, on average
CLEAR = 0.2  # silhouette from which on there are several clusters


def cluster(features: Tensor, target: Tensor, conflicting: Tensor, seed: int) -> Tensor:
    """The cluster of each `conflicting` image among those of its class, from 0, the largest first; int64 [N].

    `NO_CLUSTER` for all other images. k-means on the features [N, F], of as many clusters as have the best silhouette;
    one, where no number gives a clear one.
    """
    found = torch.full_like(target, NO_CLUSTER)
    for label in torch.unique(target[conflicting]).tolist():
        members = (conflicting & (target == label)).nonzero()[:, 0]
        numbers = _clusters(features[members].double().numpy(), seed)
        sizes = Counter(numbers)
        place = {number: position for position, (number, _) in enumerate(sizes.most_common())}
        found[members] = torch.tensor([place[number] for number in numbers])
    return found


def _clusters(features: NDArray[numpy.float64], seed: int) -> list[int]:
    from sklearn.cluster import KMeans  # imported here: it takes seconds
    from sklearn.metrics import silhouette_score

    best, chosen = CLEAR, [0] * len(features)
    distinct = len(numpy.unique(features.round(6), axis=0))
    for count in range(2, min(MOST_CLUSTERS, len(features) // LEAST_MEMBERS, distinct - 1) + 1):
        numbers = KMeans(count, n_init=3, random_state=seed).fit_predict(features)
        silhouette = silhouette_score(features, numbers, sample_size=min(2_000, len(features)), random_state=seed)
        if silhouette > best:
            best, chosen = silhouette, numbers.tolist()
    return chosen
