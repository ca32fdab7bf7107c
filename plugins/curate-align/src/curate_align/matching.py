"""Block matching: the displacement field between two sections, without a trained model.

Coarse to fine: at each level of a pyramid the source is warped by the field so far, blocks of both images are compared around the nodes of
a grid (``correlating``), outliers are dropped and the rest is smoothed (``smoothing``). A shift that a block finds is composed with the
field so far, so strong gradients of the field do not slow it down. The scheme is that of elastic alignment in connectomics (Saalfeld et
al. 2012, doi 10.1038/nmeth.2072), with a thin plate in the place of springs.
"""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen
from scipy import ndimage  # noqa: TID253 - this module is imported where fields are made

from curate_align.correlating import Pair, shifts_of
from curate_align.fields import warp
from curate_align.smoothing import Nodes, noise_of, smoothed, trusted
from curate_core import NDArray, option

_LEAST_SIDE = 16
_USUAL_NOISE = 0.25
_UNKNOWN, _KNOWN = 1e-6, 1e-3
"""How far a field of zeros, and the field of an earlier round, is trusted where blocks show nothing."""
_ROUNDS = 2


@frozen
class BlockMatching:
    """How blocks are matched; lengths in pixels of the images that are given.

    Attributes:
        block: side of the blocks at every level, an even number. Larger blocks bear more noise, smaller ones follow the field more closely.
        spacing: between the centres of neighbouring blocks, which are the nodes of the field.
        levels: of the pyramid, each half as large as the one before; fewer for images whose side would fall below 16 pixels.
        max_displacement: the longest vector of the result, measured from the previous field; blocks that ask for more are not believed.
            What can be found at all depends on the coarsest level, too: about ``(block / 2 - 2) * 2 ** (levels - 1)``, which is 112
            pixels for the defaults and images of 128 pixels or more.
        smoothness: how much the field resists bending. Blocks that are noisy, by the scatter of their own vectors, stiffen it further.
    """

    block: int = option(doc="Side of a block, pixels; even.", default=32, ge=8)
    spacing: int = option(doc="Distance between the centres of blocks, pixels.", default=16, ge=2)
    levels: int = option(doc="Levels of the pyramid, each half as large as the one before.", default=4, ge=1, le=12)
    max_displacement: float = option(doc="The longest vector, relative to the previous field, pixels.", default=64.0, gt=0)
    smoothness: float = option(doc="Resistance of the field to bending; 0: none to speak of.", default=1.0, ge=0)

    def __attrs_post_init__(self) -> None:
        if self.block % 2:
            message = f"block: {self.block} must be even"
            raise ValueError(message)


def match(
    src: NDArray,
    tgt: NDArray,
    previous: NDArray | None = None,
    *,
    options: BlockMatching | None = None,
    src_masked: NDArray | None = None,
    tgt_masked: NDArray | None = None,
) -> NDArray:
    """The field that makes one section look like another: ``warp(src, field)`` is like ``tgt``.

    Masked, black (0) and non-finite pixels are not compared. Where blocks show nothing, the field follows its neighbours; where there is
    nothing at all, it is the previous field, or zero. Brightness and contrast of the two may differ. Same input, same bytes.

    Args:
        src, tgt: (y, x) numbers of one shape.
        previous: (2, y, x) in pixels of the images: the field to begin with, which the result refines. Its non-finite vectors take the
            nearest finite one.
        options: how; None: the defaults.
        src_masked, tgt_masked: (y, x) bool, True where the image is masked; None: nowhere.

    Returns:
        (2, y, x) float32, finite, in pixels of the images, channel 0 along y and channel 1 along x.

    Raises:
        ValueError: shapes that do not agree.
    """
    options = options or BlockMatching()
    _check(src, tgt, previous, src_masked, tgt_masked)
    base = np.zeros((2, *src.shape), np.float32) if previous is None else _filled(previous)
    if 0 in src.shape:
        return base
    pyramid = [(_seen(src, src_masked), _seen(tgt, tgt_masked), base)]
    while len(pyramid) < options.levels and min(pyramid[-1][2].shape[1:]) >= 2 * _LEAST_SIDE:
        one, two, field = pyramid[-1]
        pyramid.append((_halved(one), _halved(two), _halved(np.stack([*field, np.ones_like(field[0])]))[:2]))
    found: tuple[Nodes, NDArray] | None = None
    for level in reversed(range(len(pyramid))):
        one, two, field = pyramid[level]
        nodes = Nodes.over((field.shape[1], field.shape[2]), options.spacing)
        vectors = nodes.zeros()
        if found is not None:  # pixel centres: 0 here lies at -0.25 one level up
            vectors = found[0].at(found[1], (nodes.rows - 0.5) / 2, (nodes.columns - 0.5) / 2)
        for turn in range(_ROUNDS):
            first = found is None and turn == 0
            vectors = _refined(one, two, field, nodes, vectors, level, first, options)
        found = nodes, vectors
    assert found is not None
    correction = _dense(*found, base.shape[1:])
    longest = np.hypot(*correction)
    np.multiply(correction, options.max_displacement / np.maximum(longest, 1e-9), out=correction, where=longest > options.max_displacement)
    return base + correction.astype(np.float32)


def _refined(
    src: NDArray, tgt: NDArray, base: NDArray, nodes: Nodes, vectors: NDArray, level: int, first: bool, options: BlockMatching
) -> NDArray:
    """One round at one level.

    Args:
        src, tgt: (2, y, x), as ``_seen`` gives them, of this level.
        base: (2, y, x) the previous field on this level's grid, pixels of the finest level.
        nodes: of this level.
        vectors: (2, ny, nx) at the nodes, to be added to ``base``, pixels of the finest level.
        level: 0 is the finest.
        first: nothing is known of this pair yet, so the search goes as far as a block lets it.
        options: as given.

    Returns:
        Better ``vectors``.
    """
    size = 2.0**level
    own = (base + _dense(nodes, vectors, base.shape[1:])) / size
    warped = warp(np.stack([src[0] * src[1], src[1]]), own)
    np.divide(warped[0], warped[1], out=warped[0], where=warped[1] > 0)
    warped[1] *= warped[1] > 0.5
    most = options.block // 2 - 2 if first else options.block // 4
    reach = max(2, min(most, math.ceil(options.max_displacement / size) + 1))
    found = shifts_of(Pair(warped, tgt, options.block, reach), nodes.rows, nodes.columns)
    places = np.stack(np.broadcast_arrays(nodes.rows[:, None], nodes.columns)).astype(np.float64)
    total = found.shift + _sampled(own, places + found.shift)
    wanted = size * total - _sampled(base, places)
    trust = np.where(np.hypot(*wanted) <= options.max_displacement, found.trust, 0)
    trust = trusted(total, trust)
    if not trust.any():
        return vectors
    stiffness = options.smoothness * _stiffening(noise_of(found.shift, trust)) / 4.0**level
    return smoothed(wanted, trust, stiffness, nodes.zeros() if first else vectors, _UNKNOWN if first else _KNOWN)


def _stiffening(noise: float) -> float:
    """How much stiffer than usual a field is to be whose vectors have this noise, pixels of its level: by the ratio of variances.

    Which is what the most likely field asks for, if second differences between nodes are about a quarter of a pixel. Those grow by 4 from
    level to level, in pixels of the finest one, and the noise by 2, hence the stiffness falls by 4.
    """
    if math.isnan(noise):
        return 1.0
    return min(max(noise / _USUAL_NOISE, 0.4), 4.0) ** 2


def _dense(nodes: Nodes, vectors: NDArray, shape: tuple[int, ...]) -> NDArray:
    """(2, y, x) float64: the vectors of nodes at every pixel."""
    if not vectors.any():
        return np.zeros((2, *shape))
    return nodes.at(vectors, np.arange(shape[0]), np.arange(shape[1]))


def _sampled(field: NDArray, places: NDArray) -> NDArray:
    """(2, ny, nx) float64: vectors of a dense field at places of this shape, the nearest beyond its border."""
    return np.stack([ndimage.map_coordinates(plane, places, order=1, mode="nearest", output=np.float64) for plane in field])


def _seen(image: NDArray, masked: NDArray | None) -> NDArray:
    """(2, y, x) float32: the image, 0 where it is not seen, and 1 where it is. Large values are brought to where float32 is fine."""
    seen = np.isfinite(image) & (image != 0)
    if masked is not None:
        seen &= ~np.asarray(masked, bool)
    values = np.where(seen, image, 0).astype(np.float64)
    if seen.any():
        inside = values[seen]
        values = np.where(seen, (values - inside.mean()) / (inside.std() or 1.0), 0)
    return np.stack([values, seen]).astype(np.float32)


def _halved(planes: NDArray) -> NDArray:
    """Half the resolution: means over 2 x 2 pixels of what is seen, and the share of them that is; the last plane is that share."""
    rows, columns = planes.shape[1:]
    padded = np.pad(planes, ((0, 0), (0, rows % 2), (0, columns % 2)))
    share = padded[-1]
    weighted = np.concatenate([padded[:-1] * share, share[None]])
    total = weighted[:, ::2, ::2] + weighted[:, 1::2, ::2] + weighted[:, ::2, 1::2] + weighted[:, 1::2, 1::2]
    np.divide(total[:-1], total[-1], out=total[:-1], where=total[-1] > 0)
    total[-1] /= 4
    return np.asarray(total)


def _filled(field: NDArray) -> NDArray:
    """float32 copy whose non-finite vectors are the nearest finite one; zeros if there is none."""
    known = np.isfinite(field).all(axis=0)
    filled = np.where(known, field, 0).astype(np.float32)
    if known.all() or not known.any():
        return filled
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(filled[:, nearest[0], nearest[1]])


def _check(src: NDArray, tgt: NDArray, previous: NDArray | None, *masks: NDArray | None) -> None:
    if src.ndim != 2 or src.shape != tgt.shape:
        message = f"blocks are matched between two planes (y, x) of one shape, not {src.shape} and {tgt.shape}"
        raise ValueError(message)
    if previous is not None and previous.shape != (2, *src.shape):
        message = f"the previous field of planes of shape {src.shape} has the shape {(2, *src.shape)}, not {previous.shape}"
        raise ValueError(message)
    for mask in masks:
        if mask is not None and mask.shape != src.shape:
            message = f"the mask of planes of shape {src.shape} has the same shape, not {mask.shape}"
            raise ValueError(message)
