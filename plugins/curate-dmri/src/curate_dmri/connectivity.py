"""Connectivity matrices that ride along with streamlines."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import numpy as np
from attrs import frozen

from curate_core import Case, Context, Image, NDArray, Plain, Preprocessor, StepError, option, read
from curate_dmri.streamlines import tractogram

BELONGS = "connectivity_of"
"""Note of the layers that the writer puts into the group of a tractogram."""


@frozen
class Connectivity(Preprocessor):
    """A connectivity matrix for a tractogram: which regions its streamlines may join.

    The matrix (regions x regions, other than 0: joined) is a layer read from .npy. Its regions are ``blocs``, equal boxes of the volume, or
    the ``labels`` of a layer, in ascending order without 0. The writer ``dwi-ml-hdf5`` stores both in the group of the streamlines.

    Examples::

        "preprocess": [{"use": "connectivity", "layer": "streamlines", "matrix": "matrix", "blocs": [20, 20, 20]}]
        "preprocess": [{"use": "connectivity", "layer": "streamlines", "matrix": "matrix", "labels": "atlas"}]
    """

    version: ClassVar[int] = 1
    layer: str = option(doc="Tractogram that the matrix belongs to.", min_length=1)
    matrix: str = option(doc="Layer of the matrix.", min_length=1)
    blocs: int | tuple[int, int, int] | None = option(doc="Boxes along x, y, z, or along each of them.", default=None, ge=1)
    labels: str | None = option(doc="Layer of the labels.", default=None)

    def __attrs_post_init__(self) -> None:
        if (self.blocs is None) == (self.labels is None):
            message = "blocs: give either blocs or labels"
            raise ValueError(message)

    def apply(self, case: Case, context: Context) -> Case:
        lines = tractogram(case, self.layer)
        matrix = case.image(self.matrix)
        values = read(matrix.array)
        if values.ndim != 2 or values.shape[0] != values.shape[1]:
            message = f"the connectivity matrix {self.matrix!r} has the shape {values.shape}, expected as many rows as columns"
            raise StepError(message, where=f"case {case.id}")
        changed = {self.matrix: _beside(matrix, values != 0, self.layer, "matrix")}
        if self.blocs is not None:
            blocs = [self.blocs] * 3 if isinstance(self.blocs, int) else [*self.blocs]
            regions, what = math.prod(blocs), f"{' x '.join(map(str, blocs))} blocs"
            kept: dict[str, Plain] = {"connectivity_matrix_type": "from_blocs", "connectivity_nb_blocs": [*blocs]}
        else:
            assert self.labels is not None
            volume = case.image(self.labels)
            labels = self._labels(case, volume)
            volume.grid.require_same(lines.grid.transpose([lines.grid.axes.index(a) for a in volume.grid.spatial_axes]), 1e-3,
                                     f"labels {self.labels!r} and tractogram {self.layer!r}")  # fmt: skip
            regions = int(np.count_nonzero(np.unique(labels)))
            what, kept = f"{regions} labels", {"connectivity_matrix_type": "from_labels"}
            changed[self.labels] = _beside(volume, labels, self.layer, "label_volume")
        if len(values) != regions:
            message = f"the connectivity matrix {self.matrix!r} has {len(values)} regions, there are {what}"
            raise StepError(message, where=f"case {case.id}")
        return case.with_layers({**changed, self.layer: attrs.evolve(lines, notes={**lines.notes, **kept})})

    def _labels(self, case: Case, volume: Image) -> NDArray:
        """Labels as uint16.

        Raises:
            StepError: some are no whole numbers from 0 to 65,535, or the volume has no three axes.
        """
        values = read(volume.array)
        highest = np.iinfo(np.uint16).max
        if values.ndim != 3 or not ((values >= 0) & (values <= highest) & (values == np.floor(values))).all():
            message = f"labels {self.labels!r} must be whole numbers from 0 to {highest} on three axes, these have {volume.grid.axes!r}"
            raise StepError(message, where=f"case {case.id}")
        return values.astype(np.uint16)


def _beside(image: Image, values: NDArray, layer: str, what: str) -> Image:
    """Other values, with the notes that lead the writer to the group they belong to."""
    return Image(values, image.grid, {**image.notes, BELONGS: layer, "connectivity": what})
