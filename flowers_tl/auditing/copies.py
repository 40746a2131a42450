"""Copies of images: exact ones by a hash of their pixels; near ones by features and a perceptual hash, and then by pixels.

Photographs of one burst are no copies, but nearly as bad in two splits.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import torch
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from flowers_tl.auditing.registration import register
from flowers_tl.auditing.scan import Scan
from flowers_tl.utils.notes import track

# Correlation of fine details from which on two images are copies.
SURE = 0.9
# How many of the most similar images are compared pixel by pixel, and how similar they must be: by features, and by hash.
BY_FEATURES, BY_HASH = (5, 0.5), (3, 0.6)
# Rows of similarities at a time.
ROWS = 1024
# In a larger group the first image is paired with each other one, instead of all with all.
MOST_IN_GROUP = 10
# Standard deviation of grey values below which an image shows nothing.
BLANK = 2.0


# Most seconds between one photograph of a burst and the next.
BURST = 3.0


# Kind (``exact``, ``near``, ``burst``), the places of two images, the lower one first, and the correlation of their fine
# details; of a burst the seconds between them.
Pair = tuple[str, int, int, float]


def find_copies(scan: Scan, features: Tensor) -> tuple[list[Pair], np.ndarray]:
    """Pairs of copies among n readable images, then of bursts, and the number of each image's group of both, int64 (n,).

    ``features`` are of unit length, float32 (n, d).
    """
    keys = np.array([facts["pixels"] for facts in scan.facts])
    _, firsts, exact = np.unique(keys, return_index=True, return_inverse=True)
    # One of each exact group, and none that shows nothing: all blank images look alike.
    shown = torch.tensor(
        [place for place in firsts.tolist() if scan.facts[place]["spread"] >= BLANK], dtype=torch.int64
    )
    candidates = shown[find_candidates(scan.small[shown], features[shown])].sort(1).values
    scores = register(scan.small, candidates)
    near = candidates[scores >= SURE].numpy()
    links = np.concatenate([np.stack([firsts[exact], np.arange(len(exact))], 1), near])
    groups = connect(len(exact), links)
    pairs, known = [*pairs_within(groups)], dict(zip(map(tuple, candidates.tolist()), scores.tolist(), strict=True))
    # Images may be linked by a third one only.
    linked = [pair for pair in pairs if pair not in known]
    known |= dict(zip(linked, register(scan.small, torch.tensor(linked).view(-1, 2).long()).tolist(), strict=True))
    known |= {pair: 1.0 for pair in pairs if exact[pair[0]] == exact[pair[1]]}
    copies = [("exact" if exact[a] == exact[b] else "near", a, b, known[a, b]) for a, b in pairs]
    taken = [facts["taken"] for facts in scan.facts]
    together = find_bursts(taken)
    bursts = [("burst", a, b, abs(taken[a][1] - taken[b][1])) for a, b in pairs_within(connect(len(exact), together))]
    apart = [pair for pair in bursts if pair[1:3] not in {*pairs}]
    return [*copies, *apart], connect(len(exact), np.concatenate([links, together]))


def connect(count: int, links: np.ndarray) -> np.ndarray:
    """For each of so many images the number of its group, int64 (count,); links (m, 2) are between members of one."""
    graph = coo_array((np.ones(len(links), dtype=bool), tuple(links.T)), shape=(count, count))
    return connected_components(graph)[1]


def find_bursts(taken: Sequence[tuple[str, float] | None]) -> np.ndarray:
    """Pairs of images that one camera took one after the other within seconds, int64 (m, 2)."""
    known = {place: one for place, one in enumerate(taken) if one is not None}
    pairs = [
        (a, b)
        for a, b in pairwise(sorted(known, key=lambda place: known[place]))
        if known[a][0] == known[b][0] and known[b][1] - known[a][1] <= BURST
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def find_candidates(small: Tensor, features: Tensor) -> Tensor:
    """Pairs of images that may be copies, int64 (m, 2): the most similar by features and by hash, also mirrored."""
    if len(small) < 2:
        return torch.empty(0, 2, dtype=torch.int64)
    hashes, mirrored = perceptual_hash(small), perceptual_hash(small.flip(-1))
    pairs = []
    for one, other, (most, least) in (
        (features, features, BY_FEATURES),
        (hashes, hashes, BY_HASH),
        (hashes, mirrored, BY_HASH),
    ):
        values, places = nearest(one, other, most)
        row, column = (values >= least).nonzero(as_tuple=True)
        pairs.append(torch.stack([row, places[row, column]], 1))
    return torch.cat(pairs).sort(1).values.unique(dim=0)


def perceptual_hash(small: Tensor) -> Tensor:
    """Signs of the lowest frequencies (pHash) of grey images (n, side, side), as unit vectors (n, 63)."""
    low = dctn(small.numpy().astype(np.float32), axes=(1, 2))[:, :8, :8].reshape(len(small), -1)[:, 1:]
    return torch.from_numpy(np.where(low > 0, 1, -1).astype(np.float32) / 63**0.5)


def nearest(queries: Tensor, vectors: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Dot products and places of each query's nearest vectors, (n, most), other than the one in the same place."""
    most, best = min(most, len(vectors) - 1), list[Any]()
    for start in track(range(0, len(queries), ROWS), "Comparing images"):
        similar = queries[start : start + ROWS] @ vectors.T
        similar[torch.arange(len(similar)), torch.arange(start, start + len(similar))] = -torch.inf
        best.append(similar.topk(most))
    return torch.cat([one.values for one in best]), torch.cat([one.indices for one in best])


def pairs_within(groups: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of places of the same group, the lower one first: all, or of a large group those with its first."""
    order = np.argsort(groups, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        few, listed = len(members) <= MOST_IN_GROUP, members.tolist()
        yield from ((a, b) for a, b in combinations(listed, 2) if few or a == listed[0])
