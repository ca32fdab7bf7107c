"""Axes and voxel size of a dataset, by the conventions that files in the wild follow.

Each is looked for in this order; the first that fits wins.

Axes: the attribute ``axes`` (``"zyx"``, or a list of names), ``axistags`` (vigra, ilastik), the labels of HDF5's dimension scales, the
``axes`` of the NeXus group that holds the dataset.

Voxel size: ``affine`` as curate writes it; ``element_size_um`` (z, y, x; ilastik, ImageJ's HDF5 plugins); ``spacing``, ``voxel_size``,
``voxelsize``, ``resolution``, ``pixel_size`` with ``unit`` or ``units``; NeXus's axis datasets, where they are evenly spaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from curate_core.grid import SPATIAL
from curate_hdf5.links import within

_SIZES = ("spacing", "voxel_size", "voxelsize", "resolution", "pixel_size")
_UNITS = ("unit", "units", "spacing_unit", "spacing_units", "voxel_size_unit")
_LETTERS = {
    "depth": "z", "height": "y", "row": "y", "rows": "y", "width": "x", "column": "x", "columns": "x", "channel": "c", "channels": "c",
    "time": "t", "angle": "a", "angles": "a", "theta": "a", "rotation_angle": "a", "frame": "n", "frames": "n", "image": "n", "images": "n",
    "energy": "e", "wavelength": "w",
}  # fmt: skip
_IN_NM = {
    "pm": 1e-3, "angstrom": 0.1, "angstroms": 0.1, "å": 0.1, "nm": 1.0, "nanometer": 1.0, "nanometers": 1.0, "nanometre": 1.0,
    "nanometres": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3, "micrometer": 1e3, "micrometers": 1e3,
    "micrometre": 1e3, "micrometres": 1e3, "mm": 1e6, "millimeter": 1e6, "millimeters": 1e6, "millimetre": 1e6, "millimetres": 1e6,
    "cm": 1e7, "m": 1e9, "meter": 1e9, "meters": 1e9, "metre": 1e9, "metres": 1e9,
}  # fmt: skip
_OURS = {"nm": 1.0, "um": 1e3, "mm": 1e6}
_EVEN = 1e-3
"""Steps of an axis dataset may differ by this fraction: float32 angles and positions do."""


@frozen
class Steps:
    """Voxel size along the spatial axes, array order, in ``unit``."""

    along: tuple[float, ...]
    unit: str


def stated_axes(dataset: Any, groups: Sequence[Any]) -> str | None:
    """One letter an axis, array order; None where the file names none, or names that are no axes.

    Args:
        dataset: an ``h5py.Dataset``.
        groups: the groups that hold it, by links or itself.
    """
    for names in (_own_names(dataset), _tags(dataset), _labels(dataset), *(nexus_names(group, dataset) for group in groups)):
        letters = _letters(names, len(dataset.shape))
        if letters is not None:
            return letters
    return None


def _own_names(dataset: Any) -> list[str]:
    value = texts(dataset.attrs.get("axes"))
    if len(value) == 1 and len(dataset.shape) != 1:
        return [letter for letter in value[0].lower() if letter.isalpha()]
    return value


def _tags(dataset: Any) -> list[str]:
    tags = texts(dataset.attrs.get("axistags"))
    try:
        return [str(axis["key"]) for axis in json.loads("".join(tags))["axes"]]
    except (ValueError, KeyError, TypeError):
        return []


def _labels(dataset: Any) -> list[str]:
    return [str(dimension.label) for dimension in dataset.dims] if "DIMENSION_LABELS" in dataset.attrs else []


def nexus_names(group: Any, dataset: Any) -> list[str]:
    """Names of the axes in a NeXus group (class NXdata) that is about the dataset; empty where there are none."""
    if texts(group.attrs.get("NX_class")) != ["NXdata"]:
        return []
    names = texts(group.attrs.get("axes"))
    if len(names) == 1:
        names = [name.strip() for name in names[0].strip("[]").replace(":", ",").split(",")]
    return names if len(names) == len(dataset.shape) else []


def _letters(names: Sequence[str], ndim: int) -> str | None:
    found = [name.lower() if len(name) == 1 and name.isalpha() else _LETTERS.get(name.lower(), "") for name in names]
    letters = "".join(found)
    return letters if len(found) == ndim == len(letters) == len(set(letters)) else None


def texts(value: Any) -> list[str]:
    """An attribute as texts, whichever way it was stored; empty for anything else."""
    if value is None:
        return []
    flat = np.asarray(value).ravel().tolist() if not isinstance(value, str | bytes) else [value]
    decoded = [entry.decode("utf-8", "replace") if isinstance(entry, bytes) else entry for entry in flat]
    return decoded if decoded and all(isinstance(entry, str) for entry in decoded) else []


def stated_spacing(dataset: Any, axes: str, groups: Sequence[Any]) -> Steps | None:
    """The voxel size, where the file states it in a way that is known and makes sense.

    Args:
        dataset: an ``h5py.Dataset``.
        axes: its letters.
        groups: the groups that hold it.
    """
    spatial = "".join(axis for axis in axes if axis in SPATIAL)
    if not spatial:
        return None
    microns = _sizes(dataset.attrs.get("element_size_um"), spatial)
    if microns is not None:
        return Steps(microns, "um")
    for name in _SIZES:
        steps = _sizes(dataset.attrs.get(name), spatial)
        if steps is not None:
            return in_unit(steps, _unit(dataset.attrs))
    for group in groups:
        found = _nexus_spacing(group, dataset, axes)
        if found is not None:
            return found
    return None


def _sizes(value: Any, spatial: str) -> tuple[float, ...] | None:
    """Sizes along the spatial axes; three numbers for fewer axes are those of z, y and x."""
    try:
        numbers = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        return None
    if numbers.size == 0 or not (np.isfinite(numbers).all() and (numbers > 0).all()):
        return None
    if len(numbers) == 1:
        return (float(numbers[0]),) * len(spatial)
    if len(numbers) == len(spatial):
        return tuple(numbers.tolist())
    return tuple(float(numbers["zyx".index(axis)]) for axis in spatial) if len(numbers) == 3 else None


def _unit(attributes: Mapping[str, Any]) -> str:
    for name in _UNITS:
        found = set(texts(attributes.get(name)))
        if found:
            return found.pop() if len(found) == 1 else ""
    return ""


def in_unit(steps: Sequence[float], unit: str) -> Steps:
    """Sizes in a unit that curate knows; of another one the numbers are kept, without a unit."""
    given = unit.strip()
    if given in _OURS:
        return Steps(tuple(steps), given)
    factor = _IN_NM.get(given.lower())
    if factor is None:
        return Steps(tuple(steps), "")
    ours = "nm" if factor <= 1 else "um" if factor <= 1e3 else "mm"
    return Steps(tuple(step * factor / _OURS[ours] for step in steps), ours)


def _nexus_spacing(group: Any, dataset: Any, axes: str) -> Steps | None:
    """Steps of the evenly spaced axis datasets of a NeXus group, if all spatial axes have one in units of length."""
    names = nexus_names(group, dataset)
    found: list[Steps] = []
    for axis, length, name in zip(axes, dataset.shape, names, strict=False):
        if axis not in SPATIAL:
            continue
        values = within(group, name)
        if getattr(values, "shape", None) is None or values.shape != (length,) or length < 2 or values.dtype.kind not in "iuf":
            return None
        positions = np.asarray(values[:], dtype=np.float64)
        differences = np.diff(positions)
        step = float(np.abs(differences.mean()))
        if not (np.isfinite(step) and step > 0 and np.abs(differences - differences.mean()).max() <= _EVEN * step):
            return None
        found.append(in_unit([step], _unit(values.attrs)))
    if not found or len({steps.unit for steps in found}) > 1:
        return None
    return Steps(tuple(steps.along[0] for steps in found), found[0].unit)
