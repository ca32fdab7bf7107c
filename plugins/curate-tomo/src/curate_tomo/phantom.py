"""Phantoms: analytic objects listed in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_core import Context, Image, LayerSource, Reader, SourceError, option
from curate_core.errors import nearest
from curate_core.model import Layer
from curate_tomo.geometry import cube
from curate_tomo.objects import SHAPES, Objects, turned
from curate_tomo.volume import Volume

_KEYS = ("shape", "value", "center", "semi_axes", "rotation")


@frozen
class Phantom(Reader):
    """Analytic objects listed in a JSON file.

    The file is ``{"version": 1, "objects": [...]}``. Each object has ``shape`` (ellipsoid, gaussian, paraboloid, cuboid or cylinder),
    ``value`` (attenuation of a voxel's length; overlapping objects add up), ``center`` [x, y, z] and ``semi_axes`` [a, b, c] in units of
    half the cube's edge, and may have ``rotation`` [about x, about y, about z] in degrees, applied in this order. Semi-axes are half
    lengths: radii of an ellipsoid, half edges of a cuboid, radii and half height (along z) of a cylinder; a paraboloid is
    value * (1 - q^2) at the fraction q of its radius, a gaussian has half its value at half its semi-axes.

    A file is the layer's own, as with the source ``files``, or ``model`` for samples without files.

    Examples::

        "source": {"use": "files", "pattern": "phantoms/{case}.json", "layer": "clean"}, "read": {"clean": {"use": "phantom"}}
        "source": {"use": "simulate"}, "read": {"clean": {"use": "phantom", "model": "phantom.json", "size": 128}}
    """

    version: ClassVar[int] = 1
    size: int = option(doc="Voxels along each edge of the cube [-1, 1]^3.", default=256, ge=2)
    model: Path | None = option(doc="File of the objects; null: the layer's own file.", default=None, content=True)

    def open(self, source: LayerSource, context: Context) -> Layer:
        if len(source.files) + (self.model is not None) != 1:
            has = f"the layer has {len(source.files)} files and model {'none' if self.model is None else self.model}"
            message = f"one file of objects is expected, {has}"
            raise SourceError(message, where=source.describe(), hint='name it with "model", or let the source find it')
        objects = load_objects(self.model or source.files[0])
        return Image(Volume(objects, self.size), cube(self.size), {"objects": len(objects), "unplaced": 0})

    def resident(self, source: LayerSource) -> int:
        return 0


def load_objects(path: Path) -> Objects:
    """The objects of a model file.

    Raises:
        SourceError: it cannot be read, or is not as the docstring of ``Phantom`` says; names the entry.
    """
    try:
        model = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        message = f"the model cannot be read: {error}"
        raise SourceError(message, where=str(path)) from error
    try:
        known = isinstance(model, dict) and set(model) == {"version", "objects"} and model["version"] == 1
        if not known or not isinstance(model["objects"], list):
            message = 'a model is {"version": 1, "objects": [...]} and nothing else'
            raise ValueError(message)
        rows = [_object(entry, f"objects.{i}") for i, entry in enumerate(model["objects"])]
    except ValueError as error:
        raise SourceError(str(error), where=str(path), hint="curate schema tells of specs, the docs of curate-tomo of models") from error
    kinds, values, centres, matrices = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Objects(kinds, values, np.reshape(centres, (-1, 3)), np.reshape(matrices, (-1, 3, 3)))


def _object(entry: Any, where: str) -> tuple[int, float, tuple[float, ...], Any]:
    if not isinstance(entry, dict):
        message = f"{where}: an object with the keys {', '.join(_KEYS)} is expected"
        raise ValueError(message)
    for key in entry:
        if key not in _KEYS:
            message = f"{where}.{key}: unknown key ({nearest(key, _KEYS)})"
            raise ValueError(message)
    for key in _KEYS[:-1]:
        if key not in entry:
            message = f"{where}.{key}: missing"
            raise ValueError(message)
    if entry["shape"] not in SHAPES:
        message = f"{where}.shape: {entry['shape']!r} is not one of {', '.join(SHAPES)}"
        raise ValueError(message)
    axes = _numbers(entry, "semi_axes", 3, where)
    if min(axes) <= 0:
        message = f"{where}.semi_axes: {list(axes)} must be above zero"
        raise ValueError(message)
    turn = _numbers(entry, "rotation", 3, where) if "rotation" in entry else (0.0, 0.0, 0.0)
    value = _numbers({"value": [entry["value"]]}, "value", 1, where)[0]
    return SHAPES.index(entry["shape"]), value, _numbers(entry, "center", 3, where), turned(axes, turn)


def _numbers(entry: Mapping[str, Any], key: str, count: int, where: str) -> tuple[float, ...]:
    given = entry[key]
    good = isinstance(given, list) and len(given) == count and all(type(v) in (int, float) and np.isfinite(v) for v in given)
    if not good:
        wanted = f"{count} finite numbers are" if count > 1 else "one finite number is"
        message = f"{where}.{key}: {wanted} expected, not {json.dumps(given)}"
        raise ValueError(message)
    return tuple(float(v) for v in given)
