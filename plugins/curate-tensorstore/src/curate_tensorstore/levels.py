"""The levels of a volume: for each, where its chunks lie and how its voxels lie in space.

Sources: neuroglancer's description of the precomputed format; NGFF 0.4 and 0.5, section multiscales; N5's README and the attributes that
saalfeldlab's tools (``downsamplingFactors``, ``pixelResolution``) and the OpenOrganelle project (``transform``) write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from attrs import frozen

from curate_core import Plain, SourceError

Read = Callable[[str], bytes | None]
"""Path inside the volume's folder -> what lies there, None when nothing does."""

UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("angstrom", "angstroms"), ("nm", 0.1)),
    **dict.fromkeys(("nanometer", "nanometers", "nm"), ("nm", 1.0)),
    **dict.fromkeys(("micrometer", "micrometers", "micron", "microns", "um", "\u00b5m", "\u03bcm"), ("um", 1.0)),
    **dict.fromkeys(("millimeter", "millimeters", "mm"), ("mm", 1.0)),
    **dict.fromkeys(("centimeter", "centimeters", "cm"), ("mm", 10.0)),
    **dict.fromkeys(("meter", "meters", "m"), ("mm", 1000.0)),
}
"""Name of a unit -> one of ours, and how many of it make one of theirs."""


@frozen
class Level:
    """One level of a volume.

    Attributes:
        driver: TensorStore's: ``neuroglancer_precomputed``, ``zarr``, ``zarr3`` or ``n5``.
        inside: folder of its chunks within the volume.
        index: of the scale, for the precomputed format.
        axes: letters in the order of the stored array, for instance ``xyzc``.
        spacing: along each *spatial* axis, in the order of ``axes``; None: not known.
        first: world place of the first voxel's centre along each spatial axis, in the order of ``axes``.
        unit: of spacing and place.
    """

    driver: str
    inside: str
    index: int
    axes: str
    spacing: tuple[float, ...] | None
    first: tuple[float, ...]
    unit: str


def level(
    driver: str, inside: str, axes: str, spacing: Sequence[float] | None, first: Sequence[float], units: Iterable[object] = ()
) -> Level:
    """A level whose lengths are given in named units; where these differ or are none that is known, they stay without a unit."""
    names = {str(unit).lower() for unit in units if unit}
    unit, factor = UNITS.get(names.pop(), ("", 1.0)) if len(names) == 1 else ("", 1.0)
    steps = None if spacing is None else tuple(float(step) * factor for step in spacing)
    return Level(driver, inside, 0, axes, steps, tuple(float(place) * factor for place in first), unit if spacing is not None else "")


def steps_between(fine: Level, coarse: Level) -> dict[str, Plain]:
    """``factor`` and ``first``: length and first centre of coarse voxels in fine ones, along z, y and x.

    Empty where the levels do not say.
    """
    if fine.spacing is None or coarse.spacing is None or fine.unit != coarse.unit:
        return {}
    places = [[axis for axis in level.axes if axis in "zyx"] for level in (fine, coarse)]
    factor, first = [], []
    for axis in "zyx":
        if axis in places[0] and axis in places[1]:
            i, j = places[0].index(axis), places[1].index(axis)
            factor.append(coarse.spacing[j] / fine.spacing[i])
            first.append((coarse.first[j] - fine.first[i]) / fine.spacing[i])
    return {"factor": [*factor], "first": [*first]}


def overview_of(levels: Sequence[Level], mip: int, most: int) -> int:
    """The coarsest level whose voxels are at most ``most`` times as long as those of level ``mip`` along each axis; levels that do not
    say count as half as fine as the one before.
    """
    chosen, largest = mip, 1.0
    for index in range(mip + 1, len(levels)):
        factor = cast(list[float], steps_between(levels[mip], levels[index]).get("factor", [2.0 ** (index - mip)] * 3))
        if max(factor) <= most * (1 + 1e-6) and math.prod(factor) > largest:
            chosen, largest = index, math.prod(factor)
    return chosen


def find_levels(read: Read, format: str, where: str) -> tuple[str, list[Level]]:
    """The format, and the levels from the finest on.

    Args:
        format: ``precomputed``, ``zarr``, ``n5``, or empty to look.

    Raises:
        SourceError: nothing known lies there, or its metadata cannot be understood.
    """
    tries = {"precomputed": _precomputed, "zarr": _zarr, "n5": _n5}
    for name, find in tries.items():
        if format in ("", name):
            try:
                levels = find(read)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                message = f"the metadata of this {name} volume cannot be understood: {type(error).__name__} {error}"
                raise SourceError(message, where=where) from error
            if levels:
                return name, levels
    wanted = format or "precomputed, zarr or n5"
    message = f"there is no {wanted} volume here: no info, .zattrs, .zarray, zarr.json or attributes.json says so"
    raise SourceError(message, where=where, hint="is the address right, down to the array or the group of its levels?")


def _json(read: Read, path: str) -> dict[str, Any] | None:
    text = read(path)
    return None if text is None else json.loads(text)


def _precomputed(read: Read) -> list[Level]:
    info = _json(read, "info")
    if info is None or "scales" not in info:
        return []
    axes = "xyz" if info["num_channels"] == 1 else "xyzc"
    levels = []
    for index, scale in enumerate(info["scales"]):
        spacing = tuple(float(step) for step in scale["resolution"])
        offset = scale.get("voxel_offset", [0, 0, 0])
        first = tuple((start + 0.5) * step for start, step in zip(offset, spacing, strict=True))  # voxel i covers i to i + 1 steps
        levels.append(Level("neuroglancer_precomputed", "", index, axes, spacing, first, "nm"))
    return levels


def _zarr(read: Read) -> list[Level]:
    group = _json(read, "zarr.json")
    if group is not None:
        attributes = group.get("attributes", {})
        multiscales = attributes.get("ome", attributes).get("multiscales")
        if multiscales:
            return _multiscales(multiscales[0], "zarr3")
        if group.get("node_type") != "array":
            return []
        names = group.get("dimension_names") or []
        return [_plain("zarr3", len(group["shape"]), [str(name) for name in names])]
    attributes = _json(read, ".zattrs") or {}
    if attributes.get("multiscales"):
        return _multiscales(attributes["multiscales"][0], "zarr")
    array = _json(read, ".zarray")
    return [] if array is None else [_plain("zarr", len(array["shape"]), attributes.get("_ARRAY_DIMENSIONS") or [])]


def _plain(driver: str, rank: int, names: Sequence[str]) -> Level:
    """An array without geometry."""
    letters = "".join(name.lower() for name in names)
    axes = (
        letters
        if len(letters) == rank == len(set(letters)) and set(letters) <= set("tczyx")
        else "tczyx"[5 - rank :]
        if rank != 4
        else "czyx"
    )
    count = sum(axis in "zyx" for axis in axes)
    return level(driver, "", axes, None, (0.0,) * count)


def _multiscales(described: Mapping[str, Any], driver: str) -> list[Level]:
    given = described.get("axes") or list("tczyx")  # NGFF 0.3 and before
    names = [axis if isinstance(axis, str) else axis["name"] for axis in given]
    axes = "".join(str(name).lower() for name in names)
    spatial = [i for i, axis in enumerate(axes) if axis in "zyx"]
    units = [given[i].get("unit", "") for i in spatial if isinstance(given[i], Mapping)]
    levels = []
    for dataset in described["datasets"]:
        scale, shift = [1.0] * len(axes), [0.0] * len(axes)
        steps = [*dataset.get("coordinateTransformations", []), *described.get("coordinateTransformations", [])]
        for step in steps:
            if step["type"] == "scale":
                scale = [a * b for a, b in zip(scale, step["scale"], strict=True)]
                shift = [a * b for a, b in zip(shift, step["scale"], strict=True)]
            elif step["type"] == "translation":
                shift = [a + b for a, b in zip(shift, step["translation"], strict=True)]
        known = any(step["type"] == "scale" for step in steps)
        spacing = [scale[i] for i in spatial] if known else None
        levels.append(level(driver, dataset["path"], axes, spacing, [shift[i] for i in spatial], units))
    return levels


def _n5(read: Read) -> list[Level]:
    """N5 stores the fastest axis first: x, y, z."""
    attributes = _json(read, "attributes.json")
    if attributes is None:
        return []
    if attributes.get("multiscales"):
        return [_n5_transformed(read, entry) for entry in attributes["multiscales"][0]["datasets"]]
    if "dimensions" in attributes:
        return [_n5_array(attributes, "", {})]
    levels: list[Level] = []
    while (found := _json(read, f"s{len(levels)}/attributes.json")) is not None:
        factors = attributes.get("scales", attributes.get("downsamplingFactors"))
        own = {"downsamplingFactors": factors[len(levels)]} if factors and len(factors) > len(levels) else {}
        levels.append(_n5_array({**own, **found}, f"s{len(levels)}", attributes))
    return levels


def _n5_array(found: Mapping[str, Any], inside: str, group: Mapping[str, Any]) -> Level:
    rank = len(found["dimensions"])
    axes = "xyzct"[:rank]
    resolution = found.get("pixelResolution", group.get("pixelResolution", group.get("resolution")))
    unit = "nm"
    if isinstance(resolution, Mapping):
        unit, resolution = str(resolution.get("unit", "")), resolution["dimensions"]
    factors = found.get("downsamplingFactors", 1)
    steps = np.broadcast_to(factors, rank)[:3].astype(float)
    if resolution is None:
        return level("n5", inside, axes, None, (0.0,) * len(steps))
    sizes = np.array(resolution, float)[:3]
    # a coarse voxel's centre lies in the middle of the fine ones that it stands for
    return level("n5", inside, axes, sizes * steps, sizes * (steps - 1) / 2, [unit])


def _n5_transformed(read: Read, entry: Mapping[str, Any]) -> Level:
    inside = entry["path"]
    found = _json(read, f"{inside}/attributes.json") or {}
    transform = entry.get("transform") or found.get("transform")
    if not transform:
        return _n5_array(found, inside, {})
    names = "".join(transform["axes"]).lower()
    axes = names[::-1] if transform.get("ordering", "C") == "C" else names  # the letters of the stored order, x first
    order = [names.index(axis) for axis in axes]
    spatial = [i for i, axis in zip(order, axes, strict=True) if axis in "xyz"]
    shift = transform.get("translate", [0.0] * len(names))
    units = [transform["units"][i] for i in spatial] if "units" in transform else []
    return level("n5", inside, axes, [transform["scale"][i] for i in spatial], [shift[i] for i in spatial], units)
