"""The source of subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_core import CaseSource, LayerSource, Plain, RequestError, Source, option
from curate_core.structure import Mistakes, structure
from curate_dmri.listing import check_pattern, files_of, is_tractogram, read_list

READY = "dwi_ml_ready"
_SHOWN = 10
_OWN = ("files", "join")


@frozen
class _Layer:
    """The keys of a layer that are not its reader's."""

    files: tuple[str, ...] = option(doc="Paths below the subject's folder, with * and {a,b}.", min_length=1)
    join: str = option(doc="How several volumes become one layer.", default="channels", min_length=1)


@frozen
class _Gradients:
    """Where a subject's gradient table lies."""

    bvals: str = option(doc="File of b-values, one for each volume.", min_length=1)
    bvecs: str = option(doc="File of directions, three rows or three columns.", min_length=1)


@frozen
class SubjectsSource(Source):
    """Subjects of text lists, one list a split; each is a folder below ``root`` with the same files.

    A layer has ``files``, paths below the subject's folder: ``*`` stands for anything within a name (natural order), ``{trk,tck}`` for
    either. Several volumes are joined along their channels, a series bringing one for each point in time; tractograms one behind the other.
    A layer's other keys are options of its reader. Tractograms are checked against the subject's first volume, unless ``reference`` (a path
    below the subject's folder) names another.

    All files of all subjects are looked for before any work. One that is missing is an error, or with ``"enforce": false`` costs its
    subject only. ``root`` may be the folder that holds ``dwi_ml_ready``. The case's attribute ``split`` is the name of its list.

    Example::

        "source": {
          "use": "subjects", "root": "database", "splits": {"training": "train.txt", "validation": "valid.txt"},
          "layers": {
            "input": {"files": ["dwi/dwi.nii.gz", "anat/t1.nii.gz"]},
            "streamlines": {"files": ["bundles/*.trk"], "data_per_streamline": ["mean_color"]}
          }
        }
    """

    version: ClassVar[int] = 1
    splits: dict[str, Path] = option(doc="Split -> text file of its subjects, one a line; it may be empty.")
    layers: dict[str, dict[str, Any]] = option(doc="Name -> files, and options of their reader.")
    root: Path = option(doc="Folder of the subjects' folders.", default=Path())
    enforce: bool = option(doc="Every file must be there before any work; false: a subject that lacks one is quarantined.", default=True)
    repeated: bool = option(doc="Accept subjects of several lists; their attribute split is then the list of names.", default=False)
    gradients: _Gradients | None = option(
        doc="Files whose numbers become the attributes bvals and bvecs (a direction for each b-value).", default=None
    )

    def find(self) -> Iterable[CaseSource]:
        if not self.splits or not self.layers:
            message = f"there are no {'layers' if self.splits else 'splits'}"
            raise RequestError(message, where="source")
        root = self.root / READY if (self.root / READY).is_dir() else self.root
        subjects = self._subjects()
        if not subjects:
            message = f"the lists name no subject: {', '.join(map(str, self.splits.values()))}"
            raise RequestError(message, where="source.splits")
        absent = [name for name in subjects if not (root / name).is_dir()]
        if absent and self.enforce:
            message = f"{len(absent)} of {len(subjects)} subjects have no folder in {root}: {_some(absent)}"
            raise RequestError(message, where="source.splits", hint='"enforce": false sets them aside')
        layers = {name: self._layer(name, described) for name, described in self.layers.items()}
        missing: list[str] = []
        found = [self._case(root, name, splits, layers, missing) for name, splits in subjects.items()]
        if missing and self.enforce:
            message = f"{'a file is' if len(missing) == 1 else f'{len(missing)} files are'} missing: {_some(missing)}"
            raise RequestError(message, where="source", hint='"enforce": false sets aside the subjects that lack them')
        return found

    def _subjects(self) -> dict[str, list[str]]:
        """Subject -> its splits, in the order of the lists."""
        found: dict[str, list[str]] = {}
        for split, path in self.splits.items():
            for name in read_list(path):
                splits = found.setdefault(name, [])
                if split in splits or (splits and not self.repeated):
                    where = f"twice in the list of {split}" if split in splits else f"in the lists of {splits[0]} and {split}"
                    message = f"subject {name!r} is {where}"
                    raise RequestError(message, where="source.splits", hint='list it once, or set "repeated": true for several lists')
                splits.append(split)
        return found

    def _layer(self, name: str, described: Mapping[str, Any]) -> tuple[_Layer, dict[str, Plain]]:
        where = f"source.layers.{name}"
        try:
            given = {key: value for key, value in described.items() if key in _OWN}
            own: _Layer = structure({**given, "files": _listed(given.get("files", []))}, _Layer, self.root)
        except Mistakes as mistakes:
            raise RequestError("; ".join(map(str, mistakes.problems())), where=where) from mistakes
        for pattern in own.files:
            check_pattern(pattern, where)
        kinds = {is_tractogram(pattern) for pattern in own.files}
        if len(kinds) > 1:
            message = "volumes and tractograms cannot be one layer"
            raise RequestError(message, where=where, hint="give each a layer of its own")
        options = {key: value for key, value in described.items() if key not in _OWN}
        if "reference" in options:
            check_pattern(str(options["reference"]), where)
        return own, options

    def _case(
        self, root: Path, subject: str, splits: list[str], layers: Mapping[str, tuple[_Layer, dict[str, Plain]]], missing: list[str]
    ) -> CaseSource:
        folder = root / subject
        files: dict[str, list[Path]] = {}
        for name, (own, _) in layers.items():
            files[name] = []
            for pattern in own.files:
                there = files_of(folder, pattern)
                if not there:
                    missing.append(str(folder / pattern))
                files[name] += there or [folder / pattern]  # opening what is not there costs the subject
            files[name] = list(dict.fromkeys(files[name]))
        volume = next((str(files[name][0]) for name, (own, _) in layers.items() if _is_volume(own.files[0])), None)
        sources = {}
        for name, (own, options) in layers.items():
            given = dict(options)
            if is_tractogram(own.files[0]):
                reference = str(folder / str(given["reference"])) if "reference" in given else volume
                given |= {} if reference is None else {"reference": reference}
            sources[name] = LayerSource(tuple(files[name]), join=own.join, options=given)
        attributes: dict[str, Plain] = {"split": splits[0] if len(splits) == 1 else [*splits]}
        if self.gradients is not None:
            attributes |= self._gradient_table(folder, self.gradients, missing)
        return CaseSource(subject, sources, attributes, root=root)

    def _gradient_table(self, folder: Path, gradients: _Gradients, missing: list[str]) -> dict[str, Plain]:
        tables: list[Any] = []
        for pattern in (gradients.bvals, gradients.bvecs):
            check_pattern(pattern, "source.gradients")
            there = files_of(folder, pattern)
            if len(there) != 1:
                missing.append(str(folder / pattern))
                return {}
            tables.append(_numbers(there[0]))
        values, vectors = np.concatenate(tables[0]) if tables[0] else np.zeros(0), np.array(tables[1])
        if vectors.shape == (3, len(values)) and len(values) != 3:
            vectors = vectors.T
        elif vectors.shape == (3, 3) == (len(values), 3):
            vectors = vectors.T  # FSL's form: a column for each
        if vectors.shape != (len(values), 3):
            message = f"{len(values)} b-values and a table of directions of shape {vectors.shape} do not belong together"
            raise RequestError(message, where=str(folder))
        return {"bvals": values.tolist(), "bvecs": vectors.tolist()}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _is_volume(pattern: str) -> bool:
    return pattern.lower().endswith((".nii", ".nii.gz"))


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _numbers(path: Path) -> list[list[float]]:
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        message = f"the gradient table cannot be read: {error}"
        raise RequestError(message, where=str(path)) from error
    if rows and not (np.isfinite(np.concatenate(rows)).all() and len({len(row) for row in rows}) == 1):
        message = "the gradient table holds rows of different lengths, or numbers that are not finite"
        raise RequestError(message, where=str(path))
    return rows
