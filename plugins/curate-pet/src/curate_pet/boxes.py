"""What finders of boxes share."""

from __future__ import annotations

from collections.abc import Sequence

from curate_core import Case, Image, StepError


def plain_volume(case: Case, layer: str | None, who: str) -> Image:
    """The layer to look at: an image that has spatial axes alone.

    Raises:
        StepError: there is none, or it has channels or time.
    """
    image = case.image(layer)
    if image.grid.axes != image.grid.spatial_axes:
        message = f"{who} looks at volumes and planes without channels or time, the layer has the axes {image.grid.axes!r}"
        raise StepError(message, where=f"case {case.id}", hint="keep one channel with pick-channel")
    return image


def sizes_of(size: int | Sequence[int], shape: Sequence[int], axes: str, case: str) -> tuple[list[int], int | None]:
    """Voxels of a box along each axis, and the axis that sections lose.

    Args:
        size: one number, or one for each axis; -1 along one of them: one voxel, and the axis is lost.

    Raises:
        StepError: the numbers do not fit the axes, or the box the layer.
    """
    sizes = [size] * len(axes) if isinstance(size, int) else list(size)
    if len(sizes) != len(axes):
        message = f"size has {len(sizes)} numbers for the axes {axes!r}"
        raise StepError(message, where=f"case {case}")
    across = [axis for axis, n in enumerate(sizes) if n == -1]
    if len(across) > 1 or 0 in sizes:
        message = f"size {sizes} needs numbers of voxels, -1 along one axis at most"
        raise StepError(message, where=f"case {case}")
    sizes = [1 if n == -1 else n for n in sizes]
    if any(n > have for n, have in zip(sizes, shape, strict=True)):
        message = f"boxes of {sizes} do not fit into the layer of {list(shape)} ({axes})"
        raise StepError(message, where=f"case {case}", hint="choose a smaller size, or pad the layer")
    return sizes, across[0] if across else None
