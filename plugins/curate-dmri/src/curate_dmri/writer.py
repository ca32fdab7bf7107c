"""Writer of the HDF5 file that dwi_ml reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
from attrs import frozen
from curate_hdf5.handles import Handles

from curate_core import ArrayLike, Batch, Context, NDArray, Piece, Plain, StepError, Tractogram, Writer, WriteSession, option
from curate_core.templates import check_relative


@frozen
class DwiMlHdf5Writer(Writer):
    """One HDF5 file of all subjects, in the layout that dwi_ml 1.0 reads, lazily or not.

    Each case is a group, each of its image layers and tractograms a group in that. Volumes become float32 with the axes x, y, z, feature;
    points go to ``space``, with their origin at the corner of the first voxel. The lists of subjects follow the attribute ``split``
    (``training``, ``validation``, ``testing``). Chunks are compressed losslessly, so that a box or a streamline is read without the rest;
    parts are copied as they are: the same bytes for any number of workers, and whether subjects came at once or one by one.

    Streamlines that leave their volume are refused: remove them in an earlier step. The statistics of ``standardize``, and what was
    done to the streamlines, are attributes of their groups.

    Example::

        "write": [{"use": "dwi-ml-hdf5", "file": "tracto.hdf5"}]
    """

    version: ClassVar[int] = 1
    file: str = option(doc="Path of the file in the dataset, ending in .hdf5 or .h5.", default="data.hdf5", min_length=1)
    space: Literal["vox", "voxmm", "rasmm"] = option(doc="Space of the stored points; their lengths are in mm in each.", default="vox")
    groups_config: dict[str, Any] | None = option(
        doc="Configuration to keep in the file's attribute of that name; null: the groups' types, files and standardisation.", default=None
    )
    compression: Literal["lzf", "gzip", "none"] = option(
        doc="lzf is read wherever h5py is and costs half the time of gzip; both with shuffle.", default="lzf"
    )
    _handles: Handles = attrs.field(init=False, factory=Handles, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.file.endswith((".hdf5", ".h5")) or "{" in self.file:
            message = f"file: {self.file!r} must be a plain path that ends in .hdf5 or .h5"
            raise ValueError(message)
        try:
            check_relative(self.file)
        except StepError as error:
            message = f"file: {error}"
            raise ValueError(message) from error

    def paths(self, batch: Batch) -> list[str] | None:
        return None

    def unique_in_case(self) -> bool:
        return True

    def assembles(self) -> bool:
        return True

    def open(self, part: Path, context: Context) -> WriteSession:
        from curate_dmri.session import SubjectSession

        return SubjectSession(self, part)

    def assemble(self, out: Path, pieces: Sequence[Piece], context: Context) -> list[Plain]:
        from curate_dmri.assembly import assemble

        return assemble(out, pieces, self.groups_config)

    def read(self, path: Path, place: Plain) -> NDArray | Tractogram:
        from curate_dmri.stored import loaded, open_group

        return loaded(open_group(self._handles, path, str(place)))

    def lazy(self, path: Path, place: Plain) -> ArrayLike | Tractogram:
        from curate_dmri.stored import open_group

        return open_group(self._handles, path, str(place))

    def forget(self, path: Path) -> None:
        """Close a file that ``read`` has open: it will be written to."""
        self._handles.forget(path)
