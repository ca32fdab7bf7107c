"""Small scans of a ball as a beamline stores them, and what a sinogram of them must be."""

from pathlib import Path

import h5py
import numpy as np

DARK = 100
MASK_OF_A_FILE = [
    'preprocess=[{"use": "normalize-flats", "layer": "scan", "normalize": true}]',
    'source.beside={"mask": "m{scan}.npy"}',
    'read.mask={"use": "npy", "axes": "azx"}',
]
"""Settings by which a spec takes the mask from a plain file beside each scan, however that was made."""


def counts(angles=24, rows=6, columns=40, shift=0, turns=1):
    """(angles * turns, rows, columns) uint16 projections of a ball that goes round, and the flat field that they were taken through.

    A ball of radius 0.3 at distance 0.4 from the axis: line integrals 2 sqrt(r^2 - s^2 - z^2) in closed form.
    """
    angle = np.linspace(0, np.pi * turns, angles * turns, endpoint=False)[:, None, None]
    z = (np.arange(rows)[:, None] + shift - rows / 2) / rows
    s = np.linspace(-1, 1, columns)
    thickness = 2 * np.sqrt(np.maximum(0, 0.09 - (s - 0.4 * np.cos(angle)) ** 2 - (z * 0.5) ** 2))
    flat = np.random.default_rng(7).integers(20_000, 40_000, (rows, columns))
    return np.round(DARK + (flat - DARK) * np.exp(-2 * thickness)).astype(np.uint16), flat.astype(np.uint16)


def write_scan(path: Path, projections, flat, *, fields=True, layout="diamond", **storage):
    """A scan file: darks, flats, projections, flats; or projections alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dark = np.full((2, *flat.shape), DARK, np.uint16)
    flats = np.stack([flat, flat])
    with h5py.File(path, "w") as file:
        if layout == "exchange":
            file.create_dataset("exchange/data", data=projections, **storage)
            if fields:
                file["exchange/data_white"], file["exchange/data_dark"] = flats, dark
            return path
        parts = [(dark, 2), (flats, 1), (projections, 0), (flats, 1)] if fields else [(projections, 0)]
        entry = file.create_group("entry1/tomo_entry")
        entry.create_dataset("data/data", data=np.concatenate([part for part, _ in parts]), **storage)
        key = np.concatenate([np.full(len(part), kind) for part, kind in parts])
        entry["instrument/detector/image_key"] = key
        entry["data/rotation_angle"] = np.cumsum(key == 0) * (180 / len(projections))
    return path


def expected(projections, flat):
    """The formula, in float64."""
    x = (projections.astype(float) - DARK) / np.maximum(flat.astype(float) - DARK, 1e-6)
    return -np.log(np.where(x <= 0, 1e-9, x))


def write_shifts(folder: Path, count=5, first=1000, **size):
    """Numbered scans of one sample."""
    for shift in range(count):
        write_scan(folder / f"{first + shift}.nxs", *counts(shift=2 * shift, **size))


def write_mask(path: Path, shape, rows):
    """(angle, row, column) bool: row -> ranges of columns that are masked, over all angles but the first."""
    mask = np.zeros(shape, bool)
    for row, ranges in rows.items():
        for first, last in ranges:
            mask[1:, row, first:last] = True
    np.save(path, mask)
    return mask
