"""Where the pixels of a detector and the voxels of a cube lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
from attrs import frozen

from curate_core import Grid, NDArray

AXES = "zax"
"""Axes of projections: detector row, angle, detector column. A sinogram is one row, a projection one angle, a tangentogram one column."""


def _angles(value: object) -> NDArray:
    angles = np.array(value, np.float64).reshape(-1)
    angles.setflags(write=False)
    return angles


def _positions(count: int, size: int) -> NDArray:
    """Pixels at count / (size + 1) (2 j / (count - 1) - 1), their centres in world units, as TomoPhantom has them."""
    if count == 1:
        return np.zeros(1)
    return count / (size + 1) * (2 * np.arange(count) / (count - 1) - 1)


@frozen(eq=False)
class Detector:
    """A parallel-beam scan of a cube with edges of ``size`` voxels.

    Attributes:
        size: voxels along an edge.
        rows, columns: pixels of the detector.
        angles: (n,) float64, degrees.
    """

    size: int
    rows: int
    columns: int
    angles: NDArray = attrs.field(converter=_angles)

    @classmethod
    def usual(
        cls, size: int, rows: int | None, columns: int | None, angles: int | Sequence[float] | None, ends: Sequence[float]
    ) -> Detector:
        """A detector with what is not given as the original has it: N rows, int(sqrt(2) N) columns, int(pi/2 N) angles.

        Args:
            angles: how many, evenly spaced over ``ends``, both included; or the angles themselves.
            ends: degrees.
        """
        count = int(0.5 * math.pi * size) if angles is None else angles
        chosen = np.linspace(ends[0], ends[1], count) if isinstance(count, int) else np.asarray(count)
        return cls(size, size if rows is None else rows, int(math.sqrt(2) * size) if columns is None else columns, chosen)

    @property
    def s(self) -> NDArray:
        """(columns,) float64: positions across the beam, world units."""
        return _positions(self.columns, self.size)

    @property
    def t(self) -> NDArray:
        """(rows,) float64: positions along the rotation axis, world units."""
        return _positions(self.rows, self.size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(rows, angles, columns)."""
        return self.rows, len(self.angles), self.columns

    def grid(self) -> Grid:
        """Rows along z, columns along x, in units of half the cube's edge."""
        s, t = self.s, self.t
        spacing = [float(p[1] - p[0]) if len(p) > 1 else 2 / (self.size + 1) for p in (t, s)]
        return Grid.from_spacing(self.shape, AXES, spacing, origin=(float(s[0]), 0.0, float(t[0])))


def voxels(size: int) -> NDArray:
    """(size,) float64: -1 + 2 i / size, positions of a cube's voxels along each axis, world units."""
    return -1 + 2 * np.arange(size) / size


def cube(size: int) -> Grid:
    """The grid of the voxels, axes zyx."""
    return Grid.from_spacing((size,) * 3, "zyx", (2 / size,) * 3, origin=(-1.0, -1.0, -1.0))
