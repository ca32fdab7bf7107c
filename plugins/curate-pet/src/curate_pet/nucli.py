"""``curate import nucli``: a data_cfg.yaml of nucli-train becomes a spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import frozen

from curate_core import Importer, Plain, RequestError, option
from curate_core.errors import nearest
from curate_pet.dialect import Entry, entries, expect, numbers, spacing_of

_TOP = ("target_spacing", "resample_to", "patch_size", "src_dir", "save_dir", "patch_coords")
SPLITS = ("train", "val", "test")
_TREE = "{dataset}/{center}/{tracer}"


@frozen
class NucliImporter(Importer):
    """data_cfg.yaml of nucli-train.

    Takes ``inputs``, ``targets`` and ``patients`` of each tracer, several named pairs in its place (with or without ``pairs:`` around
    them), and ``modalities`` and ``segmentations`` instead of inputs and targets. Arrays have nibabel's order, x first, as everything of
    nucli-train: patch sizes, spacings and coordinates keep theirs. Layers under ``segmentations`` and those that ``--labels`` names are
    never interpolated.

    Example::

        curate import nucli data_cfg.yaml --format npy --patch-coords coords -o spec.json
    """

    version: ClassVar[int] = 1
    format: Literal["blosc2", "hdf5", "npy"] | None = option(
        doc="What is written: blosc2, hdf5 or npy; without it npy where there are coordinates, otherwise blosc2.",
        default=None,
        choices=("blosc2", "hdf5", "npy"),
    )
    patch_coords: Path | None = option(
        doc="Centres of patches: a folder with <case>.npy, or one .npy with its index; in place of the configuration's.", default=None
    )
    labels: tuple[str, ...] = option(doc="Layers that hold labels.", default=("organs",))
    separate_patients: bool = option(doc="Pairs of a tracer have patients of their own; otherwise they share one set.", default=False)

    def convert(self, text: str, folder: Path) -> dict[str, Plain]:
        from curate_pet.plaintext import load_text

        config = expect(load_text(text), dict, "", "keys such as train, val, src_dir and save_dir")
        for key in config:
            if key not in (*SPLITS, *_TOP):
                raise RequestError("unknown key", where=str(key), hint=nearest(str(key), (*SPLITS, *_TOP)))
        found = [entry for split in SPLITS if config.get(split) for entry in entries(split, config[split])]
        if not found:
            message = "no split asks for any patients"
            raise RequestError(message, where="train", hint="put dataset, center and tracer under train or val")
        top_spacing = spacing_of(config, "target_spacing")
        top_layer = str(config["resample_to"]) if config.get("resample_to") else None
        patch = self._patch(config)
        coords = self.patch_coords or (folder / str(config["patch_coords"]) if config.get("patch_coords") else None)
        source, steps = self._cohorts(found, top_spacing, top_layer)
        output = _folder(config, "save_dir", folder)
        return {
            "version": 1,
            "name": output.name or "nucli",
            "description": "Made from a data_cfg.yaml of nucli-train.",
            "seed": 0,
            "source": {
                "use": "cohorts",
                "root": str(_folder(config, "src_dir", folder)),
                "pattern": _TREE + "/{layer}/{case}.nii.gz",
                "id": _TREE + "/{case}",
                "person": ["dataset", "center", "case"],
                "cohorts": source,
            },
            "preprocess": [{"use": "transpose", "axes": "xyz"}, *steps],
            "rois": [self._rois(patch, coords)],
            "write": [self._write(patch, coords)],
            "output": str(output),
        }

    def _patch(self, config: dict[str, Any]) -> list[int] | None:
        if not config.get("patch_size"):
            return None
        given = numbers(config["patch_size"], "patch_size")
        if any(n != int(n) or (n < 1 and n != -1) for n in given) or given.count(-1) > 1:
            message = f"expected three whole numbers of voxels, of which one may be -1, got {config['patch_size']}"
            raise RequestError(message, where="patch_size")
        return [int(n) for n in given]

    def _cohorts(self, found: list[Entry], spacing: list[float] | None, layer: str | None) -> tuple[list[Plain], list[Plain]]:
        """Cohorts, and the steps that resample them; where they are not all resampled alike, an attribute tells which step is whose."""
        kinds = {entry.path: (entry.resample_to or layer, tuple(spacing or entry.spacing or ())) for entry in found}
        alike = len(set(kinds.values())) == 1
        labels = list(dict.fromkeys([*self.labels, *(label for entry in found for label in entry.labels)]))
        cohorts: list[Plain] = []
        steps: dict[str, Plain] = {}
        for entry in found:
            to, steps_of = kinds[entry.path]
            if to is not None and to not in entry.layers:  # a layer that no pair asks for is not read
                message = f"layer {to!r} is none of the inputs and targets"
                raise RequestError(message, where=f"{entry.path}.resample_to", hint=nearest(to, entry.layers))
            cohort = entry.cohort(not self.separate_patients)
            if to is not None or steps_of:
                name = " at ".join([*([to] if to else []), *([" x ".join(f"{n:g}" for n in steps_of)] if steps_of else [])])
                step: dict[str, Plain] = {"use": "resample"}
                step |= {"to": to} if to else {}
                step |= {"spacing": list(steps_of)} if steps_of else {}
                steps[name] = step | {"labels": labels} | ({} if alike else {"when": {"grid": name}})
                if not alike:
                    cohort["attributes"] = {"grid": name}
            cohorts.append(cohort)
        return cohorts, list(steps.values())

    def _format(self, coords: Path | None) -> str:
        if coords is not None and self.format not in (None, "npy"):
            message = f"coordinates of patches are for npy, not for {self.format}"
            raise RequestError(message, where="patch_coords", hint="leave out --format or the coordinates")
        return self.format or ("blosc2" if coords is None else "npy")

    def _rois(self, patch: list[int] | None, coords: Path | None) -> Plain:
        if patch is None and (coords is not None or self._format(coords) == "npy"):
            message = "patches need a size"
            raise RequestError(message, where="patch_size", hint="such as patch_size: [128, 128, 128]")
        if coords is not None:
            assert patch is not None
            return {"use": "coordinates", "file": str(coords.absolute()), "size": [max(n, 1) for n in patch]}
        if patch is not None and -1 in patch:
            plane = "".join(axis for axis, n in zip("xyz", patch, strict=True) if n != -1)
            return {"use": "grid", "planes": [plane], "size": [n for n in patch if n != -1], "edge": "shift"}
        if patch is not None and self._format(coords) == "npy":
            return {"use": "grid", "size": list(patch), "edge": "shift"}
        return {"use": "whole"}

    def _write(self, patch: list[int] | None, coords: Path | None) -> Plain:
        kind = self._format(coords)
        if kind == "npy":
            return {"use": "npy", "path": "{split}/{array}.npy", "stack": True, "pairs": True, "dtype": "float32"}
        slices = patch is not None and -1 in patch
        roi = "/{roi}" if slices else ""
        step: dict[str, Plain] = {"use": "blosc2", "path": _TREE + "/{array}/{patient}" + roi + ".b2nd"}
        if kind == "hdf5":
            step = {"use": "hdf5", "file": "data.h5", "path": "{split}/" + _TREE + "/{patient}" + roi + "/{array}"}
        if patch is not None:
            step["patch"] = [n for n in patch if n != -1]
        return step


def _folder(config: dict[str, Any], key: str, folder: Path) -> Path:
    if not config.get(key):
        message = "the folder is missing"
        raise RequestError(message, where=key)
    value: str = expect(config[key], str, key, "a folder")
    return folder / Path(value).expanduser()
