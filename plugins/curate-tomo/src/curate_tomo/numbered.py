"""Scans whose files are numbered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import frozen

from curate_core import CaseSource, LayerSource, Plain, RequestError, Source, option
from curate_core.errors import nearest

_NUMBERED = re.compile(r"(.*?)(\d+)")


@frozen
class NumberedScans(Source):
    """Scans of one sample at several vertical shifts, a case each.

    Shift i of a sample is the file whose name is the number of the ``first`` plus i (``1000.nxs``, ``1001.nxs``, ...; digits at the end
    of longer names count as well). Or ``files`` lists each sample's shifts. Samples are numbered from ``start`` on, in the order given.
    Cases have the attributes ``sample``, ``shift``, ``scan`` (the file's name without its ending), ``shiftstep`` and ``offset`` (shift
    times shiftstep, rows).

    Example::

        "source": {"use": "numbered-scans", "first": "scans/1000.nxs", "shifts": 5, "shiftstep": 2}
    """

    version: ClassVar[int] = 1
    first: Path | tuple[Path, ...] | None = option(doc="File of shift 0; or of each sample's shift 0.", default=None)
    files: tuple[tuple[Path, ...], ...] | None = option(doc="Instead of numbers: for each sample, the files of its shifts.", default=None)
    shifts: int = option(doc="Vertical shifts of each sample.", default=5, ge=1)
    shiftstep: float = option(doc="Detector rows from one shift to the next, for the manifest.", default=2)
    samples: int | None = option(doc="Samples that are expected; null: as many as are given.", default=None, ge=1)
    start: int = option(doc="Number of the first sample.", default=0, ge=0)
    layer: str = option(doc="Name of the layer.", default="scan", min_length=1)
    beside: Mapping[str, str] = option(
        doc='Other layers of each scan: name -> path from the scan\'s folder, {scan} for its name ("masks/m{scan}.npy").', factory=dict
    )

    def __attrs_post_init__(self) -> None:
        if (self.first is None) == (self.files is None):
            message = 'either "first" or "files" says where the scans are'
            raise ValueError(message)
        if self.files is not None and any(not shifts for shifts in self.files):
            message = "files: a sample needs at least one file"
            raise ValueError(message)
        if self.layer in self.beside:
            message = f"beside: {self.layer!r} is the scan's own layer"
            raise ValueError(message)

    def find(self) -> Iterable[CaseSource]:
        found = list(self._listed())
        if self.samples is not None and self.samples != len(found):
            message = f"{self.samples} samples are expected, the scans are of {len(found)}"
            raise RequestError(message, where="source.samples", hint='give "first" a list of files, one a sample')
        seen: dict[Path, str] = {}
        for sample, files in enumerate(found, self.start):
            for shift, file in enumerate(files):
                case = f"{sample:04}_shift{shift:02}"
                if file in seen:
                    message = f"{file} would be both {seen[file]} and {case}"
                    raise RequestError(message, where="source", hint="let the numbers of samples lie further apart, or lower shifts")
                seen[file] = case
                yield self._case(case, sample, shift, file)

    def _case(self, case: str, sample: int, shift: int, file: Path) -> CaseSource:
        layers = {self.layer: LayerSource((file,))}
        for name, path in self.beside.items():
            other = file.parent / path.replace("{scan}", file.stem)
            _require(other, f"layer {name!r} of {file.name}")
            layers[name] = LayerSource((other,))
        offset = shift * self.shiftstep
        step = int(self.shiftstep) if float(self.shiftstep).is_integer() else self.shiftstep
        offset = int(offset) if float(offset).is_integer() else offset
        attributes: dict[str, Plain] = {"sample": sample, "shift": shift, "scan": file.stem, "shiftstep": step, "offset": offset}
        return CaseSource(case, layers, attributes, root=file.parent)

    def _listed(self) -> Iterable[Sequence[Path]]:
        if self.files is not None:
            for files in self.files:
                for file in files:
                    _require(file, "a scan")
                yield files
            return
        firsts = (self.first,) if isinstance(self.first, Path) else self.first or ()
        for first in firsts:
            files = tuple(_successor(first, shift) for shift in range(self.shifts))
            for shift, file in enumerate(files):
                _require(file, f"shift {shift}")
            yield files


def _successor(first: Path, shift: int) -> Path:
    """The file whose number is ``shift`` higher; leading zeros stay."""
    if shift == 0:
        return first
    match = _NUMBERED.fullmatch(first.stem)
    if match is None:
        message = f"{first.name} has no number, so that there is no next one"
        raise RequestError(message, where="source.first", hint='list the scans with "files", or set "shifts": 1')
    number = str(int(match[2]) + shift).zfill(len(match[2]))
    return first.with_name(f"{match[1]}{number}{first.suffix}")


def _require(file: Path, what: str) -> None:
    if not file.is_file():
        there = sorted(entry.name for entry in file.parent.iterdir()) if file.parent.is_dir() else []
        close = nearest(file.name, there)
        message = f"{what} would be {file}, which is not there"
        hint = close if "did you" in close else 'mind "shifts", or list the scans with "files"'
        raise RequestError(message, where="source", hint=hint)
