"""The voxel size that a TIFF file states, where it states one.

OME-XML and ImageJ say what a voxel measures. ``XResolution`` of any other TIFF is how large it prints (300 dots per inch), never how
large a voxel is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from attrs import frozen

_UNITS = {
    "mm": ("mm", 1.0), "um": ("um", 1.0), "\u00b5m": ("um", 1.0), "\u03bcm": ("um", 1.0), "\\u00b5m": ("um", 1.0), "micron": ("um", 1.0),
    "microns": ("um", 1.0), "micrometer": ("um", 1.0), "nm": ("nm", 1.0), "nanometer": ("nm", 1.0), "\u00c5": ("nm", 0.1),
    "\u212b": ("nm", 0.1), "angstrom": ("nm", 0.1), "pm": ("nm", 1e-3), "cm": ("mm", 10.0), "m": ("mm", 1000.0),
}  # fmt: skip
_NANOMETRES = {"nm": 1.0, "um": 1e3, "mm": 1e6}
_PRINT_UNITS = ("cm", "m", "inch", "in")
"""ImageJ copies the print size of a TIFF as its calibration in these units."""


@frozen
class Spacing:
    """Distance between voxel centres.

    Attributes:
        steps: axis letter (x, y, z) -> length.
        unit: ``mm``, ``um`` or ``nm``.
    """

    steps: Mapping[str, float]
    unit: str

    def along(self, axes: str) -> list[float] | None:
        """Along each spatial axis of ``axes``, in its order; None where one of them is not stated."""
        wanted = [axis for axis in axes if axis in "xyz"]
        return [self.steps[axis] for axis in wanted] if all(axis in self.steps for axis in wanted) else None


def _valid(step: object) -> bool:
    return isinstance(step, float | int) and math.isfinite(step) and step > 0


def planes_of(xml: str) -> int:
    """The planes of the largest image that OME-XML announces: sections times channels times points in time."""
    most = 0
    for tag in re.findall(r"<(?:\w+:)?Pixels\s[^>]*>", xml):
        sizes = dict(re.findall(r"\bSize([ZCT])\s*=\s*[\"'](\d{1,18})[\"']", tag))
        most = max(most, math.prod(int(size) for size in sizes.values()))
    return most


def ome_spacing(xml: str, index: int) -> Spacing | None:
    """What OME-XML states of its image number ``index``: PhysicalSizeX, Y, Z and their units (micrometres where not named)."""
    try:
        root = ET.fromstring(xml)  # noqa: S314 - expat refuses entity bombs, and nothing is fetched
    except ET.ParseError:
        return None
    pixels = [element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"]
    if index >= len(pixels):
        return None
    steps: dict[str, float] = {}
    units: dict[str, str] = {}
    for axis in "xyz":
        name = f"PhysicalSize{axis.upper()}"
        unit = _UNITS.get(pixels[index].get(f"{name}Unit", "um"))
        try:
            size = float(pixels[index].get(name, "nan"))
        except ValueError:
            continue
        if unit is not None and _valid(size):
            units[axis], factor = unit
            steps[axis] = size * factor
    if not steps:
        return None
    common = units[next(iter(steps))]
    scaled = {
        axis: step if units[axis] == common else step * _NANOMETRES[units[axis]] / _NANOMETRES[common] for axis, step in steps.items()
    }
    return Spacing(scaled, common)


def imagej_spacing(metadata: Mapping[str, Any], x_resolution: object, y_resolution: object) -> Spacing | None:
    """What ImageJ states.

    Args:
        metadata: of its image description: ``unit``, ``spacing``.
        x_resolution, y_resolution: pixels a unit, as (numerator, denominator) tags.
    """
    word = str(metadata.get("unit", "")).strip().lower()
    unit = None if word in _PRINT_UNITS else _UNITS.get(word)
    if unit is None:
        return None
    name, factor = unit
    steps = {"z": abs(metadata.get("spacing", 1.0)), "y": _step(y_resolution), "x": _step(x_resolution)}
    if not all(_valid(step) for step in steps.values()):
        return None
    return Spacing({axis: float(step) * factor for axis, step in steps.items()}, name)


def _step(resolution: object) -> float:
    if isinstance(resolution, tuple) and len(resolution) == 2 and resolution[0]:
        return float(resolution[1]) / float(resolution[0])
    return math.nan
