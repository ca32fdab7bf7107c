"""From vectors at the nodes of a grid, some of them wrong or missing, to a smooth field."""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen
from scipy import interpolate, sparse  # noqa: TID253 - this module is imported where fields are made
from scipy.sparse.linalg import splu  # noqa: TID253 - likewise

from curate_core import NDArray

_MEMBRANE = 0.02


def trusted(vectors: NDArray, trust: NDArray, limit: float = 3.0, noise: float = 0.15) -> NDArray:
    """Trust without the outliers among vectors.

    A vector is one if it lies farther from the median of its neighbours than ``limit`` times their own median distance from it plus
    ``noise``: the normalised median test of Westerweel and Scarano 2005, doi 10.1007/s00348-005-0016-6, over the 24 nearest neighbours
    that are trusted at all. Without at least five of them nothing is said against a vector. A plane through the neighbours would be their
    median on an affine field as well, so strong shears are no outliers.

    Args:
        vectors: (2, ny, nx), pixels.
        trust: (ny, nx), 0 for vectors that are not known.
        limit: how many times.
        noise: the distance, pixels, that is always allowed for.

    Returns:
        (ny, nx): ``trust``, 0 for outliers.
    """
    ny, nx = trust.shape
    known = np.where(trust > 0, vectors, np.nan)
    padded = np.pad(known, ((0, 0), (2, 2), (2, 2)), constant_values=np.nan)
    places = [(dy, dx) for dy in range(5) for dx in range(5) if (dy, dx) != (2, 2)]
    around = np.stack([padded[:, dy : dy + ny, dx : dx + nx] for dy, dx in places])
    count = np.isfinite(around[:, 0]).sum(axis=0)
    judged = (count >= 5) & (trust > 0)
    if not judged.any():
        return trust
    near = around[:, :, judged]
    median = np.nanmedian(near, axis=0)
    spread = np.nanmedian(np.hypot(*np.moveaxis(near - median, 1, 0)), axis=0)
    wrong = np.zeros(trust.shape, bool)
    wrong[judged] = np.hypot(*(known[:, judged] - median)) > limit * (spread + noise)
    return np.where(wrong, 0, trust)


def noise_of(vectors: NDArray, trust: NDArray) -> float:
    """The standard deviation of the noise of vectors along one axis, in their unit; NaN where no 3 x 3 of them are trusted.

    The mask of Immerkaer 1996 (doi 10.1006/cviu.1996.0060), a second difference along both axes at once, which leaves little of a smooth
    field; by the median, so that outliers do not matter.
    """
    if min(trust.shape) < 3:
        return math.nan
    known = np.where(trust > 0, vectors, np.nan)
    across = known[:, :, :-2] - 2 * known[:, :, 1:-1] + known[:, :, 2:]
    both = across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:]
    left = np.abs(both[np.isfinite(both)])
    return float(np.median(left)) / (6 * 0.6745) if left.size else math.nan


def smoothed(vectors: NDArray, trust: NDArray, smoothness: float, prior: NDArray, anchor: float) -> NDArray:
    """The smooth vectors that come nearest to those that are trusted.

    Minimises ``sum(trust * |u - v|**2 + anchor * |u - prior|**2) + smoothness * (bending(u) + 0.02 * stretching(u))`` over all nodes:
    bending is the thin plate's, the sum of squared second differences, which affine fields do not have; stretching that of first
    differences, which keeps large areas without vectors from being carried away. Trust is taken relative to its median over the nodes
    that are trusted at all, so that a pair that correlates badly throughout is not smoothed more for that alone.

    Args:
        vectors: (2, ny, nx) float64; not read where trust is 0.
        trust: (ny, nx) float64, not negative.
        smoothness: in units of the median trust; 0 or more.
        prior: (2, ny, nx) what is expected of nodes without vectors.
        anchor: how far the prior is trusted, in the same units; above 0.

    Returns:
        (2, ny, nx) float64, finite.
    """
    if not (trust > 0).any():
        return np.array(prior, np.float64)
    trust = trust / np.median(trust[trust > 0])
    matrix = (sparse.diags(trust.ravel() + anchor) + max(smoothness, 1e-3) * _stiffness(*trust.shape)).tocsc()
    right = (np.where(trust > 0, vectors, 0) * trust + anchor * prior).reshape(2, -1).T
    solved = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(np.ascontiguousarray(right))
    return np.asarray(solved.T.reshape(vectors.shape))


def _stiffness(ny: int, nx: int) -> sparse.csc_matrix:
    """The matrix of bending and stretching of (ny, nx) nodes whose border is free."""
    one = [sparse.identity(n, format="csr") for n in (ny, nx)]
    slope = [sparse.diags([-1.0, 1.0], [0, 1], shape=(max(n - 1, 0), n), format="csr") for n in (ny, nx)]
    bend = [sparse.diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(max(n - 2, 0), n), format="csr") for n in (ny, nx)]
    parts = [
        (1.0, sparse.kron(bend[0], one[1])),
        (1.0, sparse.kron(one[0], bend[1])),
        (2.0, sparse.kron(slope[0], slope[1])),
        (_MEMBRANE, sparse.kron(slope[0], one[1])),
        (_MEMBRANE, sparse.kron(one[0], slope[1])),
    ]
    total = sparse.csc_matrix((ny * nx, ny * nx))
    for factor, part in parts:
        if part.shape[0]:
            total = total + factor * (part.T @ part)
    return total.tocsc()


@frozen
class Nodes:
    """Places that carry vectors, evenly spaced over an image and up to half a spacing beyond it.

    Attributes:
        rows: (ny,) int64, pixels, ascending.
        columns: (nx,) int64.
    """

    rows: NDArray
    columns: NDArray

    @classmethod
    def over(cls, shape: tuple[int, int], spacing: int) -> Nodes:
        """Nodes every ``spacing`` pixels, centred on an image of this (y, x) shape; at least two along each axis."""
        rows, columns = (_line(size, spacing) for size in shape)
        return cls(rows, columns)

    def zeros(self) -> NDArray:
        """(2, ny, nx) float64."""
        return np.zeros((2, len(self.rows), len(self.columns)))

    def at(self, vectors: NDArray, rows: NDArray, columns: NDArray) -> NDArray:
        """Vectors between nodes, by a cubic spline through them; beyond the last node, its vector.

        Args:
            vectors: (2, ny, nx) at the nodes.
            rows, columns: (y,) and (x,) places, pixels.

        Returns:
            (2, y, x) float64.
        """
        down, across = _basis(self.rows, rows), _basis(self.columns, columns)
        return np.stack([(across @ (down @ plane).T).T for plane in self._coefficients(vectors)])

    def _coefficients(self, vectors: NDArray) -> NDArray:
        found = vectors
        for axis, line in ((1, self.rows), (2, self.columns)):
            found = np.moveaxis(interpolate.make_interp_spline(line, found, k=min(3, len(line) - 1), axis=axis).c, 0, axis)
        return np.asarray(found)


def _line(size: int, spacing: int) -> NDArray:
    count = max(2, -(-(size - 1) // spacing) + 1)
    return np.arange(count) * spacing - ((count - 1) * spacing - (size - 1)) // 2


def _basis(nodes: NDArray, places: NDArray) -> sparse.csr_matrix:
    """(places, nodes) weights of B-spline coefficients: at most four in a row, so products are cheap and never depend on threads."""
    degree = min(3, len(nodes) - 1)
    knots = interpolate.make_interp_spline(nodes, np.zeros(len(nodes)), k=degree).t
    return interpolate.BSpline.design_matrix(np.clip(places, nodes[0], nodes[-1]).astype(np.float64), knots, degree)
