"""Difference hashes of many tiles at once, bit for bit those of ImageHash."""

from __future__ import annotations

import numpy as np

from curate_core import NDArray
from curate_em.compiled import compiled
from curate_em.weights import PRECISION_BITS, weights

WORD = 64


def difference_hashes(tiles: NDArray, hash_size: int, size: int | None = None) -> NDArray:
    """Difference hashes (``imagehash.dhash``) of grey tiles.

    Args:
        tiles: (n, h, w) uint8.
        hash_size: bits along each axis.
        size: tiles of another shape are first resized to (size, size), bilinearly; None: they are not.

    Returns:
        (n, ceil(hash_size**2 / 64)) uint64. Bits run row by row from the highest of the first word, so that the hexadecimal
        form of a 64-bit hash is ImageHash's.
    """
    small = tiles
    if size is not None:
        small = resized(small, size, size, "bilinear")
    small = resized(small, hash_size, hash_size + 1, "lanczos")
    bits = small[:, :, 1:] > small[:, :, :-1]
    words = -(-(hash_size**2) // WORD)
    padded = np.zeros((len(tiles), words * WORD), bool)
    padded[:, : hash_size**2] = bits.reshape(len(tiles), hash_size**2)
    return np.packbits(padded, axis=1).view(">u8").astype(np.uint64)


def resized(tiles: NDArray, height: int, width: int, kind: str) -> NDArray:
    """Tiles resized as ``PIL.Image.resize`` of Pillow 13 does it, whatever version is installed.

    Only along axes whose length changes; along the rows first, unless the height shrinks by more than twice what the width does (Pillow
    before 13 always began with the rows: tall narrow tiles came out a little different).

    Args:
        tiles: (n, h, w) uint8.
        height, width: the new shape.
        kind: ``lanczos`` or ``bilinear``.

    Returns:
        (n, height, width) uint8; the tiles themselves when they have that shape.
    """
    _, h, w = tiles.shape
    if h > height and h - height > 2 * (w - width):
        return _to_width(_to_height(tiles, height, kind), width, kind)
    return _to_height(_to_width(tiles, width, kind), height, kind)


def _to_width(tiles: NDArray, width: int, kind: str) -> NDArray:
    if tiles.shape[2] == width:
        return tiles
    along = weights(tiles.shape[2], width, kind)
    return _along_rows(np.ascontiguousarray(tiles), along.first, along.count, along.values)


def _to_height(tiles: NDArray, height: int, kind: str) -> NDArray:
    if tiles.shape[1] == height:
        return tiles
    along = weights(tiles.shape[1], height, kind)
    return _along_columns(np.ascontiguousarray(tiles), along.first, along.count, along.values)


@compiled
def _along_rows(tiles: NDArray, first: NDArray, count: NDArray, values: NDArray) -> NDArray:
    n, h, w = tiles.shape
    m = len(first)
    out = np.empty((n, h, m), np.uint8)
    wide = np.empty(w, np.int32)
    for tile in range(n):
        for y in range(h):
            row = tiles[tile, y]
            for x in range(w):
                wide[x] = row[x]
            for i in range(m):
                pixels = wide[first[i] : first[i] + count[i]]
                weight = values[i, : count[i]]
                total = np.int32(1 << (PRECISION_BITS - 1))
                for j in range(len(pixels)):  # without the casts numba adds 64-bit numbers, half as many at a time
                    total = np.int32(total + np.int32(pixels[j] * weight[j]))
                value = total >> PRECISION_BITS
                out[tile, y, i] = 0 if value < 0 else 255 if value > 255 else value
    return out


@compiled
def _along_columns(tiles: NDArray, first: NDArray, count: NDArray, values: NDArray) -> NDArray:
    n, _, w = tiles.shape
    m = len(first)
    out = np.empty((n, m, w), np.uint8)
    total = np.empty(w, np.int32)
    for tile in range(n):
        for i in range(m):
            total[:] = 1 << (PRECISION_BITS - 1)
            for j in range(count[i]):
                weight = values[i, j]
                row = tiles[tile, first[i] + j]
                for x in range(len(row)):
                    total[x] = np.int32(total[x] + np.int32(np.int32(row[x]) * weight))
            target = out[tile, i]
            for x in range(len(total)):
                value = total[x] >> PRECISION_BITS
                target[x] = 0 if value < 0 else 255 if value > 255 else value
    return out
