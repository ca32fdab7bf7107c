"""How an array is cut into chunks and blocks, so that random patches read little else: the rule of nnU-Net 2.8.

A chunk is what is found on disk, a block what is decompressed. Blocks are powers of two that a processor's cache holds; chunks are blocks
put together until they cover one and a half patches or reach 6 MiB. Axes that are not spatial (channels, time) are 1 in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from curate_core import StepError

BLOCK_BYTES = 128 << 10
CHUNK_BYTES = 6 << 20
_HALVES = 3
"""A chunk covers at most so many halves of a patch along each axis."""


def partition(shape: Sequence[int], axes: str, patch: Sequence[int] | None, itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks and chunks of an array of named axes.

    Args:
        shape: array order.
        axes: its letters; x, y and z are spatial.
        patch: what will be read at once, along the spatial axes, array order; two numbers for an array of three: planes of its last two.
            None: all of it.
        itemsize: bytes a voxel.

    Returns:
        (blocks, chunks), array order.

    Raises:
        StepError: there is no spatial axis, or the patch has another number of them.
    """
    spatial = [i for i, axis in enumerate(axes) if axis in "xyz"]
    sizes = [int(shape[i]) for i in spatial]
    wanted = sizes if patch is None else [int(n) for n in patch]
    if not sizes:
        message = f"an array with axes {axes!r} has no spatial axis to cut blocks along"
        raise StepError(message)
    if len(wanted) != len(sizes) and (len(wanted), len(sizes)) != (2, 3):
        message = f"a patch of {' x '.join(map(str, wanted))} has no meaning for an array with axes {axes!r}"
        raise StepError(message, hint=f"give {len(sizes)} numbers" + (", or 2 for planes" if len(sizes) == 3 else ""))
    missing = 3 - len(sizes)
    block, chunk = nnunet_shapes((*[1] * missing, *sizes), wanted, itemsize)
    blocks, chunks = [1] * len(shape), [1] * len(shape)
    for i, b, c in zip(spatial, block[missing:], chunk[missing:], strict=True):
        blocks[i], chunks[i] = b, c
    return tuple(blocks), tuple(chunks)


def nnunet_shapes(image: Sequence[int], patch: Sequence[int], itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Block and chunk of nnU-Net 2.8 for one channel.

    Args:
        image: three sizes.
        patch: three, two (planes of the last two axes) or one.
        itemsize: bytes a voxel.

    Returns:
        (block, chunk), three sizes each.
    """
    cut = (*[1] * (3 - len(patch)), *patch)
    target = tuple(max(1, min(n, _HALVES * p // 2)) for n, p in zip(image, cut, strict=True))
    block = _block(image, cut, target, itemsize)
    return block, _chunk(block, image, cut, target, itemsize)


def _block(image: Sequence[int], cut: Sequence[int], target: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Powers of two about the patch, or the image where that is smaller; what reaches furthest beyond its target shrinks until all fits."""
    block = [min(1 << (p - 1).bit_length(), n) for p, n in zip(cut, image, strict=True)]
    while prod(block) * itemsize > BLOCK_BYTES and max(block) > 1:
        axis = max((i for i in range(3) if block[i] > 1), key=lambda i: (block[i] / target[i], i))
        block[axis] = 1 << (block[axis] - 1).bit_length() - 1  # strictly less, so that this ends
    return tuple(block)


def _chunk(block: tuple[int, ...], image: Sequence[int], cut: Sequence[int], target: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Blocks put together; the axis that covers the least of its target grows until none may."""
    chunk = list(block)
    while True:
        grown = {i: min(chunk[i] + block[i], target[i]) for i in range(3) if cut[i] > 1 and chunk[i] < target[i]}
        grown = {i: n for i, n in grown.items() if prod(chunk) // chunk[i] * n * itemsize <= CHUNK_BYTES}
        if not grown:
            return tuple(chunk)
        axis = min(grown, key=lambda i: (chunk[i] / target[i], -image[i], i))
        chunk[axis] = grown[axis]
