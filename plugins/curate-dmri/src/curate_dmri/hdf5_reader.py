"""Reader of HDF5 files in the layout of dwi_ml, whoever wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
from attrs import frozen
from curate_hdf5.create import encoded
from curate_hdf5.handles import Handles
from curate_hdf5.opening import foreign, opened

from curate_core import Context, Grid, Image, LayerSource, Plain, Reader, SourceError, Tractogram, option
from curate_core.model import Layer
from curate_dmri.layout import LISTS, claims, describe, problems
from curate_dmri.stored import open_group, text_of


@frozen
class DwiMlReader(Reader):
    """A group of an HDF5 file in the layout of dwi_ml: a volume (axes ``xyzc``) or streamlines, read lazily.

    ``curate info`` shows such a file as a tree, ``curate verify`` holds it against the layout, whoever wrote it.

    Example::

        "read": {"input": {"use": "dwi-ml-hdf5", "group": "{case}/input_volume"}}
    """

    version: ClassVar[int] = 1
    group: str = option(doc="Path of the group: the subject and its group; {attribute}s of the case fill it in.", default="", template=True)
    _handles: Handles = attrs.field(init=False, factory=Handles, eq=False, repr=False)

    def sniff(self, path: Path) -> str | None:
        reason = foreign(path)
        if reason is not None:
            return reason
        try:
            with opened(path) as file:
                return None if claims(file) else f"its root has none of the lists {', '.join(LISTS)} that dwi_ml reads"
        except SourceError as error:
            return error.message

    def open(self, source: LayerSource, context: Context) -> Layer:
        if len(source.files) != 1:
            message = f"dwi-ml-hdf5 reads one file a layer, got {len(source.files)}"
            raise SourceError(message, where=source.describe())
        path = source.files[0]
        with opened(path) as file:
            group = file.get(encoded(self.group)) if self.group else None
            if group is None or "data" not in group or "type" not in group.attrs:
                message = f"has no group {self.group!r} with data" if self.group else "needs the path of a group in it"
                raise SourceError(message, where=str(path), hint=f'name it with "group", such as {_example(file)!r}')
            attributes: dict[str, Any] = {name: text_of(value) for name, value in group.attrs.items()}
        value = open_group(self._handles, path, self.group)
        if isinstance(value, Tractogram):
            return value
        grid = Grid(tuple(value.shape), "xyzc"[: len(value.shape)], attributes["affine"], "mm", oriented=True)
        return Image(value, grid, {"group": self.group})

    def resident(self, source: LayerSource) -> int:
        return 0

    def describe(self, path: Path) -> Mapping[str, Plain] | None:
        if self.group:
            return None
        with opened(path) as file:
            return describe(file)

    def faults(self, path: Path) -> Sequence[str] | None:
        with opened(path) as file:
            return list(problems(file))


def _example(file: Any) -> str:
    subject = next(iter(file), "")
    inner = next(iter(file[subject]), "") if subject and hasattr(file[subject], "keys") else ""
    return f"{subject}/{inner}"
