"""Analytic objects: bodies whose projections are known in closed form.

An object is the unit body of its shape (ball, box, cylinder) in coordinates u = M (P - c), where P is a point of the world, c the
centre and M turns and scales. The sample lies in the cube [-1, 1]^3, coordinates (x, y, z); z is the rotation axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from attrs import frozen

from curate_core import NDArray

SHAPES = ("ellipsoid", "gaussian", "paraboloid", "cuboid", "cylinder")
"""What an object may be; its number in ``Objects.kinds`` is its place here.

``ellipsoid``: its value where |u| <= 1. ``gaussian``: value * exp(-4 ln 2 |u|^2), so that it has half its value at |u| = 1/2, cut off
at |u| = 3, where 1e-11 of it is left. ``paraboloid``: value * (1 - |u|^2) where |u| <= 1. ``cuboid``: its value where each |u_i| <= 1.
``cylinder``: its value where u_x^2 + u_y^2 <= 1 and |u_z| <= 1.
"""
GAUSSIAN_RADIUS = 3.0


def _floats(value: object) -> NDArray:
    array = np.array(value, np.float64)
    array.setflags(write=False)
    return array


def _kinds(value: object) -> NDArray:
    array = np.array(value, np.int64)
    array.setflags(write=False)
    return array


@frozen(eq=False)
class Objects:
    """Objects as columns.

    Attributes:
        kinds: (n,) int64, places in ``SHAPES``.
        values: (n,) float64: attenuation per voxel's length; where objects overlap, values add up.
        centres: (n, 3) float64, world (x, y, z).
        matrices: (n, 3, 3) float64, M of each.
    """

    kinds: NDArray = attrs.field(converter=_kinds)
    values: NDArray = attrs.field(converter=_floats)
    centres: NDArray = attrs.field(converter=_floats)
    matrices: NDArray = attrs.field(converter=_floats)

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def inverses(self) -> NDArray:
        """(n, 3, 3) float64: P - c = inverse u."""
        return np.linalg.inv(self.matrices) if len(self) else self.matrices

    @classmethod
    def spheres(cls, centres: NDArray, radii: NDArray, values: NDArray) -> Objects:
        """Balls.

        Args:
            centres: (n, 3), (x, y, z).
            radii, values: (n,).
        """
        matrices = np.eye(3) / np.asarray(radii, np.float64).reshape(-1, 1, 1)
        return cls(np.zeros(len(radii)), values, np.reshape(centres, (-1, 3)), matrices)

    def extents(self, axis: int) -> NDArray:
        """(n,) float64: how far each body reaches from its centre along a world axis (0: x, 1: y, 2: z)."""
        reach = self.inverses[:, axis, :]
        ball = np.sqrt((reach**2).sum(axis=1))
        box = np.abs(reach).sum(axis=1)
        tube = np.hypot(reach[:, 0], reach[:, 1]) + np.abs(reach[:, 2])
        gauss = GAUSSIAN_RADIUS * ball
        return np.choose(self.kinds, [ball, gauss, ball, box, tube]) if len(self) else np.zeros(0)


def turned(semi_axes: Sequence[float], rotation: Sequence[float]) -> NDArray:
    """(3, 3) float64: M of a body with semi-axes along x, y, z that is turned about x, then y, then z, by degrees, counterclockwise."""
    cx, cy, cz = np.cos(np.deg2rad(rotation))
    sx, sy, sz = np.sin(np.deg2rad(rotation))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    made: NDArray = np.diag(1 / np.asarray(semi_axes, np.float64)) @ (about_z @ about_y @ about_x).T
    return made
