"""Foams of spheres that do not touch."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import Context, Image, LayerSource, NDArray, Reader, option
from curate_core.model import Layer
from curate_tomo.geometry import cube
from curate_tomo.objects import Objects
from curate_tomo.volume import Volume


@frozen
class SphereFoam(Reader):
    """A foam of spheres in a cube, packed at random.

    Random sequential packing (the foam of TomoPhantom): each sphere in turn is drawn, place and radius alike, until it touches none before
    it and lies inside: (abs(x) + r)^2 + (abs(y) + r)^2 + (abs(z) + r)^2 <= 1. One that finds no place after ``tries`` is left out and
    counted: the layer's notes, and after ``project`` the case's attributes, say how many.

    The layer is the voxel volume, (z, y, x) float32, computed where it is read; ``project`` goes past it, to the spheres themselves.

    Example::

        "read": {"clean": {"use": "sphere-foam", "size": 256, "objects": 300}}
    """

    version: ClassVar[int] = 1
    size: int = option(doc="Voxels along each edge of the cube [-1, 1]^3.", default=256, ge=2)
    objects: int = option(doc="Spheres to place.", default=300, ge=0)
    radius: tuple[float, float] = option(doc="Least and greatest radius; half the cube's edge is 1.", default=(0.01, 0.25), gt=0, le=1)
    intensity: tuple[float, float] = option(doc="Least and greatest attenuation of a voxel's length.", default=(0.01, 1.0))
    x: tuple[float, float] = option(doc="Where centres lie along x.", default=(-0.9, 0.9), ge=-1, le=1)
    y: tuple[float, float] = option(doc="Where centres lie along y.", default=(-0.9, 0.9), ge=-1, le=1)
    z: tuple[float, float] = option(doc="Where centres lie along z, the rotation axis.", default=(-0.8, 0.8), ge=-1, le=1)
    tries: int = option(doc="Draws for each sphere before it is left out.", default=1000, ge=1)

    def __attrs_post_init__(self) -> None:
        for name in ("radius", "intensity", "x", "y", "z"):
            low, high = getattr(self, name)
            if low > high:
                message = f"{name}: [{low:g}, {high:g}] is no range, the first must not be greater"
                raise ValueError(message)

    def open(self, source: LayerSource, context: Context) -> Layer:
        objects = self.pack(context.rng())
        unplaced = self.objects - len(objects)
        return Image(Volume(objects, self.size), cube(self.size), {"objects": len(objects), "unplaced": unplaced})

    def pack(self, rng: np.random.Generator) -> Objects:
        """Draw the spheres that find a place."""
        from curate_tomo.kernels import first_fit

        placed = np.empty((self.objects, 5))
        low, high = np.array([self.x, self.y, self.z, self.radius, self.intensity]).T
        count = 0
        for _ in range(self.objects):
            tries: NDArray = low + (high - low) * rng.random((self.tries, 5))
            chosen = first_fit(np.ascontiguousarray(tries[:, :4]), placed[:count])
            if chosen >= 0:
                placed[count] = tries[chosen]
                count += 1
        return Objects.spheres(placed[:count, :3], placed[:count, 3], placed[:count, 4])

    def resident(self, source: LayerSource) -> int:
        return 0
