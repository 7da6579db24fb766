"""Clusters of the conflicting images of a class: images that conflict in the same way."""

from collections import Counter

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

NO_CLUSTER = -1
MAX_CLUSTERS = 5  # per class
MIN_MEAN_SIZE = 5  # images per cluster, on average
MIN_SILHOUETTE = 0.2  # with a lower one, the images are a single cluster


def cluster(features: Tensor, target: Tensor, conflicting: Tensor, seed: int) -> Tensor:
    """Cluster the `conflicting` images, bool [N], of each class by their `features` [N, F].

    k-means, with the number of clusters that has the best silhouette. Returns int64 [N]: clusters of a class are
    numbered from 0 by decreasing size; `NO_CLUSTER` for all other images.
    """
    clusters = torch.full_like(target, NO_CLUSTER)
    for label in torch.unique(target[conflicting]).tolist():
        members = (conflicting & (target == label)).nonzero()[:, 0]
        numbers = _best_clusters(features[members].double().numpy(), seed)
        by_size = {number: rank for rank, (number, _) in enumerate(Counter(numbers).most_common())}
        clusters[members] = torch.tensor([by_size[number] for number in numbers])
    return clusters


def _best_clusters(features: NDArray[numpy.float64], seed: int) -> list[int]:
    """The cluster of each row, in no particular numbering."""
    from sklearn.cluster import KMeans  # imported here: it takes seconds
    from sklearn.metrics import silhouette_score

    best_silhouette, best = MIN_SILHOUETTE, [0] * len(features)
    distinct = len(numpy.unique(features.round(6), axis=0))
    for count in range(2, min(MAX_CLUSTERS, len(features) // MIN_MEAN_SIZE, distinct - 1) + 1):
        numbers = KMeans(count, n_init=3, random_state=seed).fit_predict(features)
        silhouette = silhouette_score(features, numbers, sample_size=min(2_000, len(features)), random_state=seed)
        if silhouette > best_silhouette:
            best_silhouette, best = silhouette, numbers.tolist()
    return best
