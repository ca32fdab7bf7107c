"""Which pairs show the same tissue, and splits that keep them together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from curate_core import NDArray, StepError

_FEW = 1000
"""Boxes that are compared each with each."""
_NEARLY_ONE = 1 - 1e-9
"""Between the largest distance of boxes that overlap, (n - 1) / n of their length, and 1."""


def locations(src: NDArray, tgt: NDArray, extent: tuple[int, int], apart: int) -> NDArray:
    """Number the places that pairs belong to.

    Two boxes belong together where they overlap along x and y and their sections are at most ``apart`` from each other; a pair joins its
    two, and what belongs to one place by way of others does so too (connected components).

    Args:
        src, tgt: (n, 3) int64, least corners of the boxes, x, y, z in voxels of mip 0.
        extent: of every box along x and y, in voxels of mip 0.
        apart: sections.

    Returns:
        (n,) int64, from 0 on in the order in which they appear.
    """
    count = len(src)
    if not count:
        return np.zeros(0, np.int64)
    boxes, which = np.unique(np.concatenate([src, tgt]), axis=0, return_inverse=True)
    which = which.reshape(-1)
    near = _near(boxes / [*extent, apart + 1])
    labels = _components(len(boxes), np.concatenate([near, np.stack([which[:count], which[count:]], axis=1)]))
    _, first, number = np.unique(labels[which[:count]], return_index=True, return_inverse=True)
    order: NDArray = np.argsort(np.argsort(first))[number.reshape(-1)].astype(np.int64)
    return order


def _near(places: NDArray) -> NDArray:
    """(m, 2) int64: pairs of places (n, 3) that are less than 1 apart along every axis."""
    if len(places) <= _FEW:  # scipy takes longer to load than they take
        apart = np.abs(places[:, None] - places).max(axis=2)
        return np.argwhere(np.triu(apart <= _NEARLY_ONE, 1))
    from scipy.spatial import cKDTree

    found: NDArray = cKDTree(places).query_pairs(_NEARLY_ONE, p=np.inf, output_type="ndarray")
    return found.reshape(-1, 2)


def _components(count: int, edges: NDArray) -> NDArray:
    """(count,) int64: the least node that each node is connected to by (m, 2) edges, itself included."""
    labels = np.arange(count)
    while True:
        one, other = labels[edges[:, 0]], labels[edges[:, 1]]
        if (one == other).all():
            return labels
        np.minimum.at(labels, np.maximum(one, other), np.minimum(one, other))  # roots are hung below lesser ones
        while (labels != labels[labels]).any():
            labels = labels[labels]


def deal(location: NDArray, chances: NDArray, splits: Mapping[str, float]) -> NDArray:
    """A split for each pair, one for all of a location.

    Locations are dealt out in the order of their chances, so that each split gets its share of the pairs, as nearly as whole locations
    allow.

    Args:
        location: (n,) int64, of m locations.
        chances: (m,) float64, a random number each.
        splits: name -> share; the shares add up to 1.

    Returns:
        (n,) text.
    """
    names = np.array(list(splits))
    if not len(location):
        return np.zeros(0, names.dtype)
    counts, order = np.bincount(location), np.argsort(chances, kind="stable")
    middle = np.empty(len(order))
    middle[order] = (np.cumsum(counts[order]) - counts[order] / 2) / counts.sum()
    edges = np.cumsum(list(splits.values()))[:-1]
    return np.asarray(names[np.searchsorted(edges, middle, side="right")][location])


def check_leaks(split: NDArray, location: NDArray, src: NDArray, tgt: NDArray, extent: tuple[int, int], apart: int, names: NDArray) -> None:
    """Refuse splits of which two hold the same tissue.

    Args:
        split: (n,) text or numbers, masked where a pair has none.
        location: (n,) as ``locations`` gave it for the same places, ``extent`` and ``apart``.
        names: (n,) what to call each pair in the message.

    Raises:
        StepError: naming the first two pairs that overlap over two splits.
    """
    given = np.flatnonzero(~np.ma.getmaskarray(split))
    values = np.ma.getdata(split)
    pairs = np.unique(np.stack([location[given], np.unique(values[given], return_inverse=True)[1].reshape(-1)]), axis=1)
    mixed, counts = np.unique(pairs[0], return_counts=True)
    given = given[np.isin(location[given], mixed[counts > 1])]
    extents, both = np.array([*extent, apart + 1]), (src, tgt)
    for row in given.tolist():
        others = given[(location[given] == location[row]) & (values[given] != values[row]) & (given > row)]
        touching = np.zeros(len(others), bool)
        for own in both:
            for other in both:
                touching |= (np.abs(other[others] - own[row]) < extents).all(axis=1)
        if touching.any():
            second = int(others[np.argmax(touching)])
            first = f"pair {names[row]} in the split {values[row]!s}"
            message = f"a leak: {first} and pair {names[second]} in {values[second]!s} show the same tissue"
            hint = f"boxes that overlap within {apart} sections need one split; change the column, or leave it out and set splits, or apart"
            raise StepError(message, hint=hint)
