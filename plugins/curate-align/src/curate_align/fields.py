"""Displacement fields: sampling with them, their units and their mean translation.

A field is (2, y, x) float32, channel 0 along y and channel 1 along x. It warps by sampling, backward: the output at a pixel is the image
at that pixel plus its vector. Fields are stored in pixels of mip 0; the functions that sample want pixels of the grid they sample on,
which is what ``scale`` gives. The rules are those of torchfields (https://github.com/seung-lab/torchfields): zeros outside of an image,
the nearest vector outside of a field.
"""

from __future__ import annotations

import numpy as np

from curate_core import NDArray, StepError


def warp(image: NDArray, field: NDArray, fill: float = 0) -> NDArray:
    """Sample an image along a field: ``out[y, x] = image[y + field[0, y, x], x + field[1, y, x]]``, bilinear between pixel centres.

    Outside of the image lies ``fill``, into which the border pixels blend over one pixel. A pixel with a non-finite vector is ``fill``.
    A NaN of the image reaches the pixels whose four neighbours hold it with a weight above 0.

    Args:
        image: (..., y, x) numbers; its shape may differ from the field's.
        field: (2, y, x) in the image's pixels.
        fill: the value outside.

    Returns:
        (..., y, x) float32 with the field's y and x.

    Raises:
        ValueError: not a field.
    """
    _check(field)
    image = np.asarray(image, np.float32)
    size = image.shape[-2:]
    padded = np.full((*image.shape[:-2], size[0] + 2, size[1] + 2), fill, np.float32)
    padded[..., 1:-1, 1:-1] = image
    known = _known(field)
    out = _sampled(padded, *(_place(field[axis], axis, size[axis] + 1, known) for axis in (0, 1)))
    if not known.all():
        out[..., ~known] = fill
    return out


def scale(field: NDArray, from_mip: int, to_mip: int) -> NDArray:
    """The same vectors in pixels of another mip: times ``2**(from_mip - to_mip)``.

    Args:
        field: (..., y, x) vectors in pixels of ``from_mip``, on a grid of any mip, which stays.
        from_mip: 0 for fields as they are stored.
        to_mip: the mip of the grid for a field to warp with.

    Returns:
        float32, of the shape given. Powers of two are exact: scaling back gives the same bytes.
    """
    return np.asarray(field, np.float32) * np.float32(2.0 ** (from_mip - to_mip))


def translation(field: NDArray, step: int, *, where: str = "") -> NDArray:
    """The translation of a reference region: the mean of its finite vectors, rounded down to multiples of ``step``.

    A vector counts if both its channels are finite. Rounding is towards minus infinity: -0.5 with a step of 4 is -4.

    Args:
        field: (2, y, x), pixels of mip 0.
        step: ``2**src_mip`` of the reference region; 1 or more.
        where: what it is about, for the error.

    Returns:
        (2,) int64, along y and x, pixels of mip 0.

    Raises:
        StepError: not one vector is finite.
        ValueError: not a field, or a step below 1.
    """
    _check(field)
    if step < 1:
        message = f"a translation is a multiple of 1 pixel or more, not of {step}"
        raise ValueError(message)
    known = _known(field)
    if not known.any():
        message = "the reference region of the field holds no finite vector, so it has no translation"
        raise StepError(message, where=where, hint="leave this place out, or give the field a larger reference region")
    mean = field[:, known].astype(np.float64).mean(axis=1)
    return np.floor(mean / step).astype(np.int64) * step


def _check(field: NDArray) -> None:
    if field.ndim != 3 or field.shape[0] != 2:
        message = f"a field has the shape (2, y, x), not {field.shape}"
        raise ValueError(message)


def _known(field: NDArray) -> NDArray:
    """(y, x) bool: both channels are finite."""
    return np.asarray(np.isfinite(field).all(axis=0))


def _place(vector: NDArray, axis: int, last: int, known: NDArray) -> NDArray:
    """Where to sample along one axis: float64 positions from 0 to ``last``, of which the padding is the first and the last."""
    shape = (-1, 1) if axis == 0 else (1, -1)
    own = np.arange(vector.shape[axis], dtype=np.float64).reshape(shape)
    place: NDArray = own + 1 + np.where(known, vector, 0)
    return np.clip(place, 0, last, out=place)


def _sampled(padded: NDArray, rows: NDArray, columns: NDArray) -> NDArray:
    """Bilinear samples at places within ``padded``; taps of weight 0 are not read."""
    height, width = padded.shape[-2:]
    low_y, low_x = rows.astype(np.intp), columns.astype(np.intp)
    share_y, share_x = (rows - low_y).astype(np.float32), (columns - low_x).astype(np.float32)
    step_y, step_x = (share_y > 0) * width, (share_x > 0).astype(np.intp)
    flat = padded.reshape(*padded.shape[:-2], height * width)
    at = low_y * width + low_x
    with np.errstate(invalid="ignore"):  # infinity less infinity, where an image holds it
        upper = flat.take(at, axis=-1)
        upper += (flat.take(at + step_x, axis=-1) - upper) * share_x
        at += step_y
        lower = flat.take(at, axis=-1)
        lower += (flat.take(at + step_x, axis=-1) - lower) * share_x
        upper += (lower - upper) * share_y
    return upper
