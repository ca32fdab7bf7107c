"""Where a NIfTI volume lies: sform, qform or the voxel size alone, each checked against the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from attrs import frozen
from nibabel.spatialimages import HeaderDataError  # noqa: TID253 - this module is imported where the reader works

from curate_core import Grid, NDArray, Plain
from curate_nifti.files import bad
from curate_nifti.header import Header

Choice = Literal["auto", "sform", "qform", "pixdim"]

_UNITS = {1: ("mm", 1e3), 2: ("mm", 1.0), 3: ("um", 1.0)}
"""``xyzt_units`` -> unit and what lengths are multiplied by."""
_SPACING_TOLERANCE = 1e-3
"""Relative: headers hold float32, and people round to four digits."""
_PLACE_TOLERANCE = 0.1
"""Of the smallest voxel side: a quaternion near half a turn is known to some 1e-4 radian only."""
_SHEAR_TOLERANCE = 1e-3


@frozen(eq=False)
class Place:
    """Where a volume lies.

    Attributes:
        affine: (4, 4) float64, indices in file order (x, y, z) to world RAS+, in ``unit``.
        unit: of the world.
        source: ``sform``, ``qform`` or ``pixdim``.
        calibrated: the voxel size is stated.
        notes: for the manifest.
        disagreements: what the header says twice, and not alike; in words.
    """

    affine: NDArray
    unit: str
    source: str
    calibrated: bool
    notes: Mapping[str, Plain]
    disagreements: tuple[str, ...]


def place_of(header: Header, choice: Choice) -> Place:
    """The affine that the header states, in its unit (metres become millimetres).

    ``auto`` goes by the codes as nibabel and the standard do: the sform where its code is not 0, else the qform, else the voxel size alone
    along the array's own axes.

    Raises:
        SourceError: the chosen one is not there, or is no map of a volume into space.
    """
    nifti = header.nifti
    codes = {name: int(nifti[f"{name}_code"]) for name in ("sform", "qform")}
    chosen = next((name for name, code in codes.items() if code > 0), "pixdim") if choice == "auto" else choice
    if codes.get(chosen, 1) <= 0:
        stated = [name for name, code in codes.items() if code > 0]
        message = f"states no {chosen} (its code is 0)"
        raise bad(header.path, message, f'"affine": "{stated[0] if stated else "pixdim"}"')
    code = int(nifti["xyzt_units"]) & 7
    unit, factor = _UNITS.get(code, ("mm", 1.0))
    notes: dict[str, Plain] = {"affine": chosen}
    if code not in _UNITS:
        notes["unit"] = "not stated, taken as mm"
    steps = _stated_steps(header)
    calibrated = chosen != "pixdim" or all(steps)
    affine = np.diag([*(step or 1.0 for step in steps), 1.0]) if chosen == "pixdim" else _form(header, chosen)
    _check(header, affine, chosen)
    scale = np.array([factor, factor, factor, 1.0])[:, None]
    found = [_other_form(header, affine, chosen, codes, unit, factor), _other_spacing(header, affine, steps, unit, factor)]
    angle = _shear(affine[:3, : len(header.sizes)])
    if angle > _SHEAR_TOLERANCE:
        notes["sheared"] = f"axes are up to {math.degrees(angle):.3g} degrees off right angles"
    return Place(affine * scale, unit, chosen, calibrated, notes, tuple(text for text in found if text))


def grid_of(header: Header, place: Place, shape: tuple[int, ...], axes: str) -> Grid:
    """The grid of an array with these axes."""
    columns = ["xyz".index(axis) for axis in axes if axis in "xyz"]
    affine = place.affine[:, [*columns, 3]] + 0.0  # + 0.0: no negative zeros
    return Grid(shape, axes, affine, place.unit, place.source != "pixdim", place.calibrated)


def _stated_steps(header: Header) -> list[float]:
    """Voxel size along x, y and z by ``pixdim``; 0 where it states none."""
    steps = [abs(float(step)) for step in header.nifti["pixdim"][1:4]]
    return [step if math.isfinite(step) else 0.0 for step in steps]


def _form(header: Header, name: str) -> NDArray:
    """One of the two affines, (4, 4), in the header's own unit.

    Raises:
        SourceError: its quaternion is none.
    """
    try:
        return np.asarray(getattr(header.nifti, f"get_{name}")(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        message = f"its {name} cannot be used: {error}"
        raise bad(header.path, message, _elsewhere(name)) from error


def _elsewhere(name: str) -> str:
    return f'repair the header, or take another: "affine": "{"qform" if name == "sform" else "sform"}" or "pixdim"'


def _check(header: Header, affine: NDArray, name: str) -> None:
    """Refuse what does not map the volume's axes into space one to one."""
    if not np.isfinite(affine).all():
        message = f"its {name} contains NaN or infinity"
        raise bad(header.path, message, _elsewhere(name))
    steps = affine[:3, : len(header.sizes)]
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(steps, axis=0)
    if not np.isfinite(norms).all():
        message = f"its {name} contains steps that are too large for a length"
        raise bad(header.path, message, _elsewhere(name))
    if not norms.all() or np.linalg.matrix_rank(steps / norms, tol=1e-6) < steps.shape[1]:
        message = f"its {name} makes a volume flat: columns {[[round(float(v), 6) for v in column] for column in steps.T]}"
        raise bad(header.path, message, _elsewhere(name))


def _corners(header: Header, affine: NDArray) -> NDArray:
    last = [n - 1 for n in header.sizes]
    corners: NDArray = np.array(np.meshgrid(*[(0, n) for n in last], indexing="ij")).reshape(len(last), -1).T
    return np.asarray(corners @ affine[:3, : len(last)].T + affine[:3, 3])


def _other_form(header: Header, affine: NDArray, chosen: str, codes: Mapping[str, int], unit: str, factor: float) -> str:
    """What to say where a form that was not chosen lies elsewhere; empty where it does not."""
    smallest = float(np.linalg.norm(affine[:3, : len(header.sizes)], axis=0).min())
    for name, code in codes.items():
        if name == chosen or code <= 0 or chosen == "pixdim":
            continue
        try:
            other = np.asarray(getattr(header.nifti, f"get_{name}")(), dtype=np.float64)
        except (HeaderDataError, ValueError):
            return f"{chosen} taken; the {name} is malformed"
        distance = float(np.abs(_corners(header, affine) - _corners(header, other)).max())
        if not distance <= _PLACE_TOLERANCE * smallest:
            return f"{chosen} taken; the {name} lies up to {distance * factor:.4g} {unit} elsewhere"
    return ""


def _other_spacing(header: Header, affine: NDArray, steps: list[float], unit: str, factor: float) -> str:
    """What to say where ``pixdim`` and the affine state different voxel sizes; empty where they do not."""
    used = np.linalg.norm(affine[:3, : len(header.sizes)], axis=0)
    pairs = [(float(a), b) for a, b in zip(used, steps, strict=False) if b]
    if all(abs(a - b) <= _SPACING_TOLERANCE * a for a, b in pairs):
        return ""
    by_affine, by_pixdim = (" x ".join(f"{value * factor:.6g}" for value in values) for values in (used, steps[: len(used)]))
    return f"the affine's voxel size {by_affine} {unit} taken; pixdim states {by_pixdim}"


def _shear(steps: NDArray) -> float:
    """Largest deviation of two axes from a right angle, radian."""
    unit = steps / np.linalg.norm(steps, axis=0)
    gram: Any = np.abs(unit.T @ unit - np.eye(steps.shape[1]))
    return float(np.arcsin(np.clip(gram.max(initial=0.0), 0.0, 1.0)))
