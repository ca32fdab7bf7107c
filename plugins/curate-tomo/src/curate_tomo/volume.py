"""Analytic objects as lazy arrays: their voxels, and their projections. Only the box that is read is computed."""

from __future__ import annotations

import numpy as np

from curate_core import LazyArray, NDArray
from curate_core.arrays import Box
from curate_tomo.geometry import Detector, voxels
from curate_tomo.objects import Objects


class Volume(LazyArray):
    """The voxels of objects, (z, y, x) float32: the sum of their values at each voxel's point.

    Args:
        objects: in the cube [-1, 1]^3.
        size: voxels along each edge.
    """

    def __init__(self, objects: Objects, size: int) -> None:
        self.objects, self.size = objects, size
        self.shape, self.dtype = (size,) * 3, np.dtype(np.float32)

    def read_box(self, where: Box) -> NDArray:
        from curate_tomo import kernels

        found = self.objects
        z, y, x = (voxels(self.size)[part] for part in where)
        out = kernels.empty(len(z), len(y), len(x))
        if out.size:
            extents = np.stack([found.extents(axis) for axis in range(3)], axis=1)
            kernels.fill(found.kinds, found.values, found.centres, found.matrices, extents, x, y, z, out)
        return out


class Projections(LazyArray):
    """Line integrals through objects, (row, angle, column) float32, in voxels' lengths times value: exact, not through voxels.

    Each is computed in float64 and added up in float32: against float64 throughout it is off by at most 1e-6 of the maximum.

    Args:
        objects: in the cube [-1, 1]^3.
        detector: the scan.
    """

    def __init__(self, objects: Objects, detector: Detector) -> None:
        self.objects, self.detector = objects, detector
        self.shape, self.dtype = detector.shape, np.dtype(np.float32)

    def read_box(self, where: Box) -> NDArray:
        from curate_tomo import kernels

        found, scan = self.objects, self.detector
        t, s, radians = scan.t[where[0]], scan.s[where[2]], np.deg2rad(scan.angles[where[1]])
        out = kernels.empty(len(t), len(radians), len(s))
        if out.size:
            columns = (found.kinds, found.values, found.centres, found.matrices, np.ascontiguousarray(found.inverses), found.extents(2))
            kernels.project(*columns, scan.size, s, t, np.sin(radians), np.cos(radians), out)
        return out
