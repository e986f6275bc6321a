"""How much each channel is worth: what its batch normalisations scale it by, or the L1 norm of its filters."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from converters.compress.channels import Channels
from converters.compress.ties import Ids

Rank = Literal["gamma", "l1"]


def rank_channels(model: Any, channels: Channels, rank: Rank) -> list[NDArray[np.float64]]:
    """Score the channels of every group; the lowest are the first to go.

    "gamma" sums |gamma| of all batch normalisations that a channel passes (Liu et al. 2017, Network Slimming,
    arXiv:1708.06519, section 3). A group in which a channel passes none, such as the hidden layer of a
    squeeze-excite gate, is ranked by "l1".

    "l1" sums the L1 norms of all filters that make a channel (Li et al. 2017, arXiv:1608.08710, section 3.1), as they
    stand. Folding the batch normalisation that follows into the filter first was tried and is worse: on half of
    PublicTest, 10 and 20 % removed and not fine-tuned, mini-Xception fell to 45.3 and 30.7 % plain, 43.2 and 22.9 %
    folded, our micro network to 55.2 and 25.9 % plain, 45.4 and 24.5 % folded.

    Args:
        model: the network that `channels` were found in.
        channels: what to rank.
        rank: by what.

    Returns:
        For each of `channels.groups` float64 (its channels,), not negative.
    """
    size = len(channels.roots)
    gamma, passed, l1 = np.zeros(size), np.zeros(size, np.bool_), np.zeros(size)
    for site in channels.sites:
        layer = model.get_layer(site.layer)
        if site.kind == "BatchNormalization" and layer.gamma is not None:
            (read,) = site.weights[0]
            assert read is not None
            _add(gamma, channels.roots[read], np.abs(np.asarray(layer.gamma, np.float64)))
            passed[channels.roots[read]] = True
        elif site.made is not None:
            filters = np.abs(np.asarray(layer.get_weights()[site.filters], np.float64))
            _add(l1, channels.roots[site.made], filters.reshape(-1, len(site.made)).sum(axis=0))
    return [gamma[group] if rank == "gamma" and passed[group].all() else l1[group] for group in channels.groups]


def _add(total: NDArray[np.float64], roots: Ids, values: NDArray[np.float64]) -> None:
    """Add values; a channel that stands many times, as in a flattened map, counts with the mean of its values."""
    np.add.at(total, roots, values / np.bincount(roots)[roots])
