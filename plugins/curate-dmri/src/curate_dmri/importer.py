"""Configurations of dwi_ml's HDF5 creation as specs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import frozen

from curate_core import Importer, Plain, RequestError, option
from curate_core.errors import nearest
from curate_core.jsonfile import parse_json
from curate_dmri.listing import TRACTOGRAMS

_VOLUME = ("type", "files", "standardization", "std_mask")
_LINES = (
    "type", "files", "dps_keys", "connectivity_matrix", "connectivity_nb_blocs", "connectivity_labels", "step_size", "nb_points",
    "compress", "remove_invalid",
)  # fmt: skip
_OVER = {"all": "layer", "independent": "feature", "per_file": "file"}
_ANY = "{" + ",".join(suffix[1:] for suffix in TRACTOGRAMS) + "}"
_TREATMENTS = ("step_size", "nb_points", "compress")
_TOLERANCE = 0.01
"""What ``compress`` means without a number (dipy's default)."""


@frozen
class DwiMl(Importer):
    """The groups of dwi_ml's ``create_hdf5_dataset``, of both its forms.

    In the older form the JSON describes volumes alone; ``bundles`` makes the group ``streamlines``: names below ``SUBJECT/bundles``, with
    or without their ending, all without any. ``std_mask`` then standardises every volume group feature by feature. In the newer form (1.0)
    each group says its own: ``standardization``, ``std_mask``, ``dps_keys``, connectivity. In both, all files must be there unless
    ``allow_missing`` is set. ``force`` has no counterpart in a spec: run it with ``--overwrite``.

    Example::

        curate import dwi-ml config.json --root database --training-subjs train.txt --validation-subjs valid.txt -o spec.json
    """

    version: ClassVar[int] = 1
    training_subjs: Path = option(doc="Text file of the subjects to train with, one a line.")
    validation_subjs: Path = option(doc="Text file of the subjects to validate with.")
    testing_subjs: Path | None = option(doc="Text file of the subjects to test with.", default=None)
    root: Path | None = option(doc="The database, or its dwi_ml_ready; by default the configuration's folder.", default=None)
    std_mask: tuple[str, ...] | None = option(
        doc="Masks below the subject's folder: every volume group is standardised within their union.", default=None, min_length=1
    )
    bundles: tuple[str, ...] | None = option(doc="Tractograms below SUBJECT/bundles; none named: all.", default=None)
    space: Literal["rasmm", "vox", "voxmm"] = option(doc="Space of the stored points; vox by default.", default="vox")
    name: str = option(doc="Name of the dataset and its file.", default="dwi_ml", min_length=1)
    step_size: float | None = option(doc="Step of the streamlines, mm.", default=None, gt=0)
    nb_points: int | None = option(doc="Points of every streamline.", default=None, ge=2)
    compress: float | None = option(doc="Tolerance to which streamlines are compressed, mm.", default=None, gt=0)
    remove_invalid: bool = option(doc="Drop streamlines that leave the volume; they are counted.", default=False)
    enforce_bundles_presence: bool = option(doc="Stop before any work where a file is missing: the default.", default=False)
    allow_missing: bool = option(doc="A subject that lacks a file is set aside, the others go on.", default=False)
    force: bool = option(doc="Taken as it is; run the spec with --overwrite.", default=False)

    def convert(self, text: str, folder: Path) -> dict[str, Plain]:
        config = parse_json(text, "the configuration")
        if not isinstance(config, dict) or not all(isinstance(group, dict) for group in config.values()) or not config:
            raise _wrong("", "a configuration is an object of groups, each an object")
        if self.enforce_bundles_presence and self.allow_missing:
            raise _wrong("", "--enforce-bundles-presence and --allow-missing exclude each other")
        if "/" in self.name or self.name in (".", ".."):
            raise _wrong("", f"the name {self.name!r} is no name of a file")
        layers: dict[str, Plain] = {}
        preprocess: list[Plain] = []
        written: list[str] = []
        groups = {**config, **self._streamlines(config)}
        for name, group in groups.items():
            written.append(name)
            if group.get("type") == "volume":
                self._volume(name, group, layers, preprocess)
            elif group.get("type") == "streamlines":
                written += self._lines(name, group, layers, preprocess)
            else:
                raise _wrong(name, f"its type is {group.get('type')!r}, expected 'volume' or 'streamlines'")
        splits = {"training": self.training_subjs, "validation": self.validation_subjs, "testing": self.testing_subjs}
        source: dict[str, Plain] = {
            "use": "subjects",
            "root": str(self.root or folder),
            "splits": {split: str(path) for split, path in splits.items() if path is not None},
            "layers": layers,
        }
        if self.allow_missing:
            source["enforce"] = False
        writer: dict[str, Plain] = {"use": "dwi-ml-hdf5", "file": f"{self.name}.hdf5", "space": self.space, "groups_config": config}
        return {
            "version": 1,
            "name": self.name,
            "description": "One HDF5 file for dwi_ml, from a configuration of create_hdf5_dataset.",
            "seed": 0,
            "source": source,
            "preprocess": preprocess,
            "rois": [{"use": "whole", "layers": [*written]}],
            "write": [writer],
            "output": self.name,
        }

    def _streamlines(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The group that the older form makes of bundles; none in the newer form.

        Raises:
            RequestError: both forms are used at once.
        """
        given = [name for name, group in config.items() if group.get("type") == "streamlines"]
        if given and self.bundles is not None:
            raise _wrong(given[0], "--bundles makes a group of streamlines, and the configuration has one already")
        if given:
            return {}
        if "streamlines" in config:
            raise _wrong("streamlines", "a group of volumes has the name of the group that bundles make")
        files = [f"bundles/{name}" for name in self.bundles or ("*",)]
        return {"streamlines": {"type": "streamlines", "files": files}}

    def _volume(self, name: str, group: Mapping[str, Any], layers: dict[str, Plain], preprocess: list[Plain]) -> None:
        _known(name, group, _VOLUME)
        layers[name] = {"files": [*_texts(name, group, "files")]}
        how, masks = group.get("standardization", "none"), _texts(name, group, "std_mask") if "std_mask" in group else []
        if how not in ("none", *_OVER):
            raise _wrong(name, f"standardization is {how!r}, expected one of all, independent, per_file, none")
        if self.std_mask is not None:
            if masks or "standardization" in group:
                raise _wrong(name, "--std-mask standardises every volume group, and this one says its own standardisation")
            how, masks = "independent", list(self.std_mask)
        if how == "none":
            return
        step: dict[str, Plain] = {"use": "standardize", "layer": name, "over": _OVER[how]}
        if masks:
            step["mask"] = _mask_layer(masks, layers)
        preprocess.append(step)

    def _lines(self, name: str, group: Mapping[str, Any], layers: dict[str, Plain], preprocess: list[Plain]) -> list[str]:
        """Adds the group's layers and steps; returns the layers that are written besides."""
        _known(name, group, _LINES)
        files: list[Plain] = [_with_ending(file) for file in _texts(name, group, "files")]
        layers[name] = {"files": files, "data_per_streamline": [*_texts(name, group, "dps_keys")] if "dps_keys" in group else []}
        own = {key: group[key] for key in _TREATMENTS if group.get(key) not in (None, False)}
        flags = {key: getattr(self, key) for key in _TREATMENTS if getattr(self, key) is not None}
        chosen = flags or own
        if len(chosen) > 1:
            raise _wrong(name, f"{' and '.join(chosen)} exclude each other")
        remove = bool(self.remove_invalid or group.get("remove_invalid", False))
        removing: dict[str, Plain] = {"remove_invalid": True} if remove else {}
        if "step_size" in chosen:
            preprocess.append({"use": "resample-streamlines", "layer": name, "step_size": chosen["step_size"], **removing})
        elif "nb_points" in chosen:
            preprocess.append({"use": "resample-streamlines", "layer": name, "points": chosen["nb_points"], **removing})
        elif "compress" in chosen:
            tolerance = _TOLERANCE if chosen["compress"] is True else chosen["compress"]
            preprocess.append({"use": "compress-streamlines", "layer": name, "tolerance": tolerance, **removing})
        elif remove:
            preprocess.append({"use": "remove-invalid-streamlines", "layer": name})
        return self._connectivity(name, group, layers, preprocess)

    def _connectivity(self, name: str, group: Mapping[str, Any], layers: dict[str, Plain], preprocess: list[Plain]) -> list[str]:
        blocs, labels = group.get("connectivity_nb_blocs"), group.get("connectivity_labels")
        if "connectivity_matrix" not in group:
            if blocs is not None or labels is not None:
                raise _wrong(
                    name, "connectivity_nb_blocs and connectivity_labels say what a connectivity_matrix is about, which is not given"
                )
            return []
        if (blocs is None) == (labels is None):
            raise _wrong(name, "a connectivity_matrix needs either connectivity_nb_blocs or connectivity_labels")
        matrix = f"{name}_connectivity_matrix"
        layers[matrix] = {"files": [str(group["connectivity_matrix"])]}
        step: dict[str, Plain] = {"use": "connectivity", "layer": name, "matrix": matrix}
        if labels is None:
            preprocess.append({**step, "blocs": blocs})
            return [matrix]
        volume = f"{name}_connectivity_labels"
        layers[volume] = {"files": [str(labels)]}
        preprocess.append({**step, "labels": volume})
        return [matrix, volume]


def _wrong(group: str, message: str) -> RequestError:
    return RequestError(message, where=f"dwi-ml, group {group}" if group else "dwi-ml")


def _known(name: str, group: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse keys that dwi_ml does not know: they would be lost in silence."""
    for key in group:
        if key not in known:
            message = f"dwi_ml has no key {key!r} for a group of type {group['type']}"
            raise RequestError(message, where=f"dwi-ml, group {name}", hint=nearest(key, known))


def _texts(name: str, group: Mapping[str, Any], key: str) -> list[str]:
    value = group.get(key)
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(entry, str) and entry for entry in listed) or (not listed and key == "files"):
        raise _wrong(name, f"{key} must be a list of texts, not {value!r}")
    return listed


def _with_ending(file: str) -> str:
    """A tractogram's path; any ending where none is named, all files for dwi_ml's ``folder/ALL``."""
    if file == "ALL" or file.endswith("/ALL"):
        file = f"{file[:-3]}*"
    return file if file.lower().endswith(TRACTOGRAMS) else f"{file}.{_ANY}"


def _mask_layer(masks: list[str], layers: dict[str, Plain]) -> str:
    """The layer of some masks; groups that name the same share it."""
    wanted: Plain = {"files": [*masks]}
    for name, layer in layers.items():
        if layer == wanted and name.startswith("std_mask"):
            return name
    name = "std_mask"
    while name in layers:
        name += "_"
    layers[name] = wanted
    return name
