"""Changes of training images that leave their label alone; every draw comes from the generator that is passed in."""

from __future__ import annotations

import numpy as np
import torch


def augmented(images: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Flips, quarter turns, brightness and contrast by up to a fifth, noise and blur, drawn for each image.

    Args:
        images: (n, 1, s, s) float32, 0..1.
    """
    return torch.stack([_one(image, generator) for image in images])


def _one(image: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    image = torch.rot90(image, int(generator.integers(4)), (1, 2))
    if generator.random() < 0.5:
        image = image.flip(2)
    if generator.random() < 0.5:
        contrast, brightness = generator.uniform(0.8, 1.2), generator.uniform(-0.2, 0.2)
        image = (image - image.mean()) * contrast + image.mean() + brightness
    if generator.random() < 0.3:
        noise = generator.normal(0, generator.uniform(0.01, 0.05), tuple(image.shape))
        image = image + torch.from_numpy(noise.astype(np.float32))
    if generator.random() < 0.3:
        image = _blurred(image, float(generator.uniform(0.5, 1.5)))
    return image.clamp(0, 1)


def _blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    radius = int(np.ceil(3 * sigma))
    line = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float32) ** 2) / (2 * sigma**2))
    line = line / line.sum()
    padded = torch.nn.functional.pad(image[None], (radius,) * 4, mode="reflect")
    down = torch.nn.functional.conv2d(padded, line.view(1, 1, -1, 1))
    return torch.nn.functional.conv2d(down, line.view(1, 1, 1, -1))[0]
