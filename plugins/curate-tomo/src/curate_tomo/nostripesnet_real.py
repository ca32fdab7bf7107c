"""The modes of NoStripesNet's data generator that work on real scans, as specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate_core import Plain, RequestError

_STRIPES: Mapping[str, dict[str, Plain]] = {
    "paired": {"percentage": 1, "max_thickness": 2, "intensity": 0.2, "kind": "random", "variability": 0.005, "over": "sample"},
    "patch": {"percentage": 0.4, "max_thickness": 6, "intensity": 0.2, "kind": "full", "variability": 0, "over": "sample", "clip": True},
}
_PATHS = {
    "raw": "{sample:04}/shift{shift:02}/{sample:04}_shift{shift:02}_{row:04}.tif",
    "paired": "{sample:04}/{artifact}_artifacts/{array}/{sample:04}_shift{shift:02}_{row:04}.tif",
    "dynamic": "{sample:04}_frame{frame:02}_{row:04}.tif",
    "patch": "{sample:04}/{artifact}_artifacts/{array}/{sample:04}_shift{shift:02}_{row:04}_w{patch:02}.tif",
}


def real_spec(mode: str, given: Mapping[str, Any]) -> dict[str, Plain]:
    """The spec of a mode of real scans.

    Args:
        given: the generator's options by name; None: not given.

    Raises:
        RequestError: no scan is named, or the same one is to be written several times.
    """
    if given["hdf_root"] is None:
        message = f"mode {mode!r} needs the scan of shift 0"
        raise RequestError(message, where="nostripesnet", hint="name it with --hdf-root")
    if (given["samples"] or 1) > 1:
        message = f"--samples {given['samples']} writes the same scan {given['samples']} times, under other numbers"
        raise RequestError(message, where="nostripesnet", hint='leave it out; several scans are a list under "first" in the spec')

    def of(name: str, default: Any) -> Any:
        return default if given[name] is None else given[name]

    numbered: dict[str, Plain] = {"use": "numbered-scans", "first": given["hdf_root"], "samples": 1, "start": of("start", 0)}
    shifts: dict[str, Plain] = {"shifts": 1} if mode == "dynamic" else {"shifts": of("shifts", 5), "shiftstep": of("shiftstep", 2)}
    preprocess: list[Plain] = [{"use": "normalize-flats", "layer": "scan", "normalize": True}]
    if mode in _STRIPES:
        preprocess.append({"use": "stripe-mask", "layer": "scan", "archive": given["mask"], "to": "mask"})
    return {
        "version": 1,
        "name": f"tomo-{mode}",
        "seed": 0,
        "source": {**numbered, **shifts},
        "read": {"scan": {"use": "nexus", "flats": given["flats"], "chunk": of("chunk_size", 243)}},
        "preprocess": preprocess,
        "rois": [_rois(mode, list(of("patch_size", (1801, 256))), of("frame_angles", 900))],
        "transform": _transform(mode),
        "write": [{"use": "tiff", "path": _PATHS[mode]}],
        "output": of("root", "./data"),
    }


def _rois(mode: str, size: list[int], angles: int) -> dict[str, Plain]:
    marked: dict[str, Plain] = {"layers": ["scan", "mask"], "attributes": {"artifact": {"any": "mask", "true": "real", "false": "fake"}}}
    if mode == "dynamic":
        return {"use": "sinogram-frames", "frame_angles": angles, "every": 1, "partial": "drop"}
    if mode == "patch":
        return {"use": "sinogram-patches", "size": list[Any](size), **marked}
    return {"use": "sinograms", **(marked if mode == "paired" else {})}


def _transform(mode: str) -> list[Plain]:
    names: dict[str, Plain] = {"array": "scan", "clean": "clean", "stripe": "stripe", "mask": "mask"}
    steps: list[Plain] = []
    if mode in _STRIPES:
        steps.append({"use": "estimate-clean", **names, "when": {"artifact": "real"}})
    if mode != "patch":
        steps.append({"use": "resize", "size": [402, 362]})
    if mode in _STRIPES:
        steps.append({"use": "add-stripes", **names, **_STRIPES[mode], "when": {"artifact": "fake"}})
    return [*steps, {"use": "scale", "to": "uint16", "over": {"attribute": "sample"}}]
