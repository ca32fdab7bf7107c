"""From samples to what the network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from curate_core import NDArray, StepError

if TYPE_CHECKING:
    import torch

SIZE = 224
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def grey_images(values: NDArray, where: str) -> NDArray:
    """(n, h, w) uint8 from samples, an axis of length one before or after the image left out.

    Raises:
        StepError: they are no grey images.
    """
    if values.dtype != np.uint8:
        message = f"the classifier sees uint8 samples, these are {values.dtype}"
        raise StepError(message, where=where, hint="put to-uint8 under preprocess")
    shape = values.shape[1:]
    if len(shape) == 3 and 1 in (shape[0], shape[-1]):
        values = values[:, 0] if shape[0] == 1 else values[..., 0]
    if values.ndim != 3:
        message = f"the classifier sees 2D grey samples, these have shape {shape}"
        raise StepError(message, where=where, hint="cut sections, for example with em-sections, or keep one channel")
    return values


def scaled(images: NDArray, size: int = SIZE) -> torch.Tensor:
    """(n, h, w) uint8 -> (n, 1, size, size) float32, 0..1, resized bilinearly."""
    import torch

    grey = torch.from_numpy(images.astype(np.float32)).div_(255).unsqueeze(1)
    if grey.shape[2:] != (size, size):
        grey = torch.nn.functional.interpolate(grey, (size, size), mode="bilinear", align_corners=False)
    return grey


def normalised(grey: torch.Tensor) -> torch.Tensor:
    """(n, 1, s, s) 0..1 -> (n, 3, s, s): three equal channels, normalised with ImageNet's mean and deviation."""
    import torch

    mean, std = (torch.tensor(values, dtype=torch.float32, device=grey.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (grey - mean) / std


def to_input(images: NDArray, size: int = SIZE) -> torch.Tensor:
    """What the network sees of (n, h, w) uint8 images: (n, 3, size, size) float32."""
    return normalised(scaled(images, size))
