"""Random patches of the samples of a dataset, read without the rest of each sample: a map-style dataset for loaders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from curate_core.arrays import ArrayLike, NDArray, read
from curate_core.context import generator
from curate_core.dataset import Dataset
from curate_core.errors import RequestError

_OPEN_SAMPLES = 64
"""Samples whose files stay open in a process."""


class Patches:
    """Seeded random patches; ``patches[i]`` is a dict from array name to array.

    Every array of a sample is cut at one place, along its last axes; what lies before them (channels) is taken whole. Entry ``i`` belongs
    to sample ``i // per_sample`` and is the same whenever it is asked for within an epoch, by whichever worker.

    Args:
        dataset: finished, of samples larger than a patch.
        size: voxels along the last axes: a number for each; the number of numbers says how many axes.
        per_sample: patches of each sample in an epoch.
        seed: decides all places.
        arrays: names to read; all by default.
        pad: value of voxels beyond a sample that is smaller than a patch, which lies in its middle then; None: such a sample is an error.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: Sequence[int],
        *,
        per_sample: int = 1,
        seed: int = 0,
        arrays: Sequence[str] | None = None,
        pad: float | None = None,
    ) -> None:
        self.dataset, self.size, self.per_sample, self.seed = dataset, tuple(int(n) for n in size), per_sample, seed
        self.arrays, self.pad, self.epoch = None if arrays is None else tuple(arrays), pad, 0
        if not self.size or min(self.size) < 1 or per_sample < 1:
            message = f"patches of {list(self.size)}, {per_sample} a sample: every number must be at least 1"
            raise RequestError(message, where="patches")
        self._opened = lru_cache(_OPEN_SAMPLES)(self._open)

    def __len__(self) -> int:
        return len(self.dataset) * self.per_sample

    def __getitem__(self, index: int) -> dict[str, NDArray]:
        if not -len(self) <= index < len(self):
            message = f"patch {index} of {len(self)}"
            raise IndexError(message)
        index %= len(self)
        arrays = self._opened(index // self.per_sample)
        shape = np.array(next(iter(arrays.values())).shape[-len(self.size) :])
        room = np.maximum(shape - self.size, 0)
        start = generator("patches", self.seed, self.epoch, index).integers(0, room + 1)
        return {name: self._cut(array, start) for name, array in arrays.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._opened = lru_cache(_OPEN_SAMPLES)(self._open)

    def set_epoch(self, epoch: int) -> None:
        """Draw other places; loaders with workers that stay must be made anew, for their copies do not hear of it."""
        self.epoch = epoch

    def _open(self, sample: int) -> Mapping[str, ArrayLike]:
        found = self.dataset.lazy(sample, self.arrays)
        shapes = {name: tuple(array.shape[-len(self.size) :]) for name, array in found.items()}
        where = f"sample {self.dataset.row(sample)['id']}"
        if len(set(shapes.values())) != 1 or any(len(shape) < len(self.size) for shape in shapes.values()):
            message = f"patches of {list(self.size)} need arrays of one shape along their last {len(self.size)} axes, these have {shapes}"
            raise RequestError(message, where=where, hint="name some of the arrays")
        (shape,) = set(shapes.values())
        if self.pad is None and any(n < size for n, size in zip(shape, self.size, strict=True)):
            message = f"patches of {list(self.size)} do not fit into the sample of {list(shape)}"
            raise RequestError(message, where=where, hint="give a pad value, or smaller patches")
        return found

    def _cut(self, array: ArrayLike, start: NDArray) -> NDArray:
        before = len(array.shape) - len(self.size)
        box = [slice(0, n) for n in array.shape[:before]]
        box += [slice(int(a), min(int(a) + size, n)) for a, size, n in zip(start, self.size, array.shape[before:], strict=True)]
        values = read(array, tuple(box))
        missing = [size - n for size, n in zip(self.size, values.shape[before:], strict=True)]
        if any(missing):
            assert self.pad is not None
            around = [(0, 0)] * before + [(n // 2, n - n // 2) for n in missing]
            return np.pad(values, around, constant_values=self.pad)
        return np.array(values)  # a copy: what is mapped cannot be changed, and loaders change what they are given
