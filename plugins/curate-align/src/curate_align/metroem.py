"""The specification of a dataset of metroem as a spec."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from curate_align.pairspec import is_pair_spec, read_pairs
from curate_core import Importer, Plain, RequestError, option
from curate_core.errors import nearest
from curate_core.jsonfile import parse_json

if TYPE_CHECKING:
    from pathlib import Path

WHERE = "metroem"
_TOP = ("image", "field", "masks", "max_mip", "dst_mip", "x_size", "y_size", "pairs")
_VOLUME = ("path", "src_mip", "reference")
_REFERENCE = ("path", "src_mip", "dst_mip", "x_size", "y_size")
_MASK = ("path", "src_mip", "threshold")
_COARSEST = 40


@frozen
class Metroem(Importer):
    """The specification of a dataset of metroem: layers, mips, sizes and pairs, as ``create-spec`` fills it in.

    A path without a format is taken for precomputed; a relative one starts at the folder of the spec that is made. A reference that is
    another volume than the image, or is read at another mip, becomes a layer of its own. The pairs are written into the spec, unless
    ``points`` says where it finds this very file.

    Example::

        curate import metroem filled.json -o spec.json --points filled.json
    """

    version: ClassVar[int] = 1
    points: str | None = option(
        doc="Path of this file as seen from the spec, which then reads its pairs there; by default they are copied.",
        default=None,
        min_length=1,
    )
    output: str = option(doc="Folder of the dataset.", default="out/pairs", min_length=1)

    def convert(self, text: str, folder: Path) -> dict[str, Plain]:
        found = parse_json(text, WHERE)
        if not isinstance(found, dict):
            raise _wrong("", "a specification is an object with image, dst_mip, x_size, y_size and pairs")
        _known(found, _TOP, "")
        image, dst_mip = _volume(found, "image"), _mip(found, "dst_mip", "")
        field = _volume(found, "field") if found.get("field") is not None else None
        size, masks = _size(found, ""), _masks(found)
        layers: dict[str, Any] = {"image": _layer(image)}
        if field is not None:
            layers["field"] = _layer(field)
        names = _mask_names(masks)
        layers |= {name: _layer(mask) for name, mask in zip(names, masks, strict=True)}
        own: list[Any] = ["image", *(["field"] if field else [])]
        preprocess: list[Any] = [{"use": "to-mip", "mip": dst_mip, "layers": own, "like": "image"}]
        normalize: dict[str, Any] = {"use": "normalize-by-reference", "reference_size": _reference_size(image, size)}
        reference = _reference(image, dst_mip)
        if reference is not None:
            layers["reference"] = _layer(reference)
            preprocess.append({"use": "to-mip", "mip": reference["dst_mip"], "layers": ["reference"], "like": "reference"})
            normalize["reference"] = "reference"
        if masks:
            union = {"use": "mask-union", "layers": [*names], "thresholds": [mask["threshold"] for mask in masks]}
            preprocess.append({**union, "like": "image", "to": "mask"})
            normalize["mask"] = "mask"
            if reference is not None:
                preprocess.append({**union, "like": "reference", "to": "reference_mask"})
                normalize["reference_mask"] = "reference_mask"
        rois: dict[str, Any] = {"use": "point-pairs", **self._pairs(found), "layer": "image", "mip": dst_mip, "size": [*size]}
        if reference is not None or any(mask["src_mip"] == dst_mip for mask in masks):  # they may lie on the image's grid
            rois["layers"] = [*own, *(["mask"] if masks else [])]
        corner = "x{first_x}_y{first_y}_z{first_z}_MIP" + str(dst_mip)
        write: dict[str, Any] = {"use": "pair-hdf5", "images": f"{corner}.h5"}
        transform: list[Any] = [normalize]
        if field is not None:
            transform = [_follow(field, size, dst_mip, masked=bool(masks)), *transform, {"use": "warp", "view": "tgt"}]
            write["field"] = f"field_0_{corner}_test.h5"
        return {
            "version": 1,
            "name": "pairs",
            "seed": 0,
            "source": {"use": "list", "cases": [{"case": "site", "layers": layers}]},
            "read": {"*": {"use": "tensorstore", "missing": "fill"}},
            "preprocess": preprocess,
            "rois": [rois],
            "transform": [{"use": "missing-chunks", "layers": ["image"]}, *transform],
            "write": [write],
            "output": self.output,
        }

    def _pairs(self, found: Mapping[str, Any]) -> dict[str, Plain]:
        if not is_pair_spec(found) or not found["pairs"]:
            raise _wrong("pairs", "there are none", "curate create-spec fills them in from points")
        src, tgt, anchor = read_pairs(found["pairs"], WHERE)
        if self.points is not None:
            return {"points": self.points}
        both = zip(src.tolist(), tgt.tolist(), strict=True)
        pairs: list[Any] = [[[_plain(value) for value in place] for place in pair] for pair in both]
        return {"pairs": pairs} if anchor == "corner" else {"pairs": pairs, "anchor": anchor}


def _follow(field: Mapping[str, Any], size: tuple[int, int], dst_mip: int, *, masked: bool) -> dict[str, Plain]:
    """The transform that takes the field's translation out, which is a multiple of a pixel of its reference."""
    reference = field.get("reference") or {}
    if reference.get("path", field["path"]) != field["path"]:
        message = f"the reference of the field is another volume, {reference['path']}"
        raise _wrong("field.reference.path", message, "its translation is taken from the field itself: name that")
    if reference.get("dst_mip", dst_mip) != dst_mip:
        message = f"the reference of the field is brought to mip {reference['dst_mip']}, the field to {dst_mip}"
        raise _wrong("field.reference.dst_mip", message, "bring both to one mip, and give x_size and y_size in its pixels")
    step = reference.get("src_mip", field["src_mip"])
    others: dict[str, Plain] = {"others": ["mask"]} if masked else {}
    return {"use": "follow-field", "field": "field", **others, "reference_size": _reference_size(field, size), "step_mip": step}


def _reference(image: Mapping[str, Any], dst_mip: int) -> dict[str, Any] | None:
    """The reference of the image where it is not the image itself."""
    own = {"path": image["path"], "src_mip": image["src_mip"], "dst_mip": dst_mip}
    given = {key: value for key, value in (image.get("reference") or {}).items() if key in own}
    return None if {**own, **given} == own else {**own, **given}


def _reference_size(volume: Mapping[str, Any], size: tuple[int, int]) -> list[Plain]:
    reference = volume.get("reference") or {}
    return [reference.get("y_size", size[0]), reference.get("x_size", size[1])]


def _volume(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    volume = found.get(name)
    if not isinstance(volume, dict):
        raise _wrong(name, "there is no such volume", f'give "{name}": {{"path": "gs://bucket/layer", "src_mip": 5}}')
    _known(volume, _VOLUME, name)
    _path(volume, name)
    _mip(volume, "src_mip", name)
    reference = volume.get("reference")
    if reference is not None:
        if not isinstance(reference, dict):
            raise _wrong(f"{name}.reference", "expected an object with path, src_mip, dst_mip, x_size and y_size")
        _known(reference, _REFERENCE, f"{name}.reference")
        _path(reference, f"{name}.reference")
        _size(reference, f"{name}.reference")
        for key in ("src_mip", "dst_mip"):
            _mip(reference, key, f"{name}.reference")
    return volume


def _masks(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    masks = found.get("masks") or []
    if not isinstance(masks, list):
        raise _wrong("masks", "expected a list of objects with path, src_mip and threshold")
    for number, mask in enumerate(masks):
        at = f"masks.{number}"
        if not isinstance(mask, dict):
            raise _wrong(at, "expected an object with path, src_mip and threshold")
        _known(mask, _MASK, at)
        _path(mask, at)
        _mip(mask, "src_mip", at)
        threshold = mask.get("threshold")
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise _wrong(f"{at}.threshold", "expected a number; values from it on are masked")
    return masks


def _mask_names(masks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of layers, from the last part of each path where that tells them apart."""
    names: list[str] = []
    for number, mask in enumerate(masks):
        name = re.sub(r"\W+", "_", mask["path"].rstrip("/").rpartition("/")[2], flags=re.ASCII).strip("_")
        taken = name in ("image", "field", "mask", "reference", "reference_mask", *names) or not name.isidentifier()
        names.append(f"mask_{number}" if taken else name)
    return names


def _layer(volume: Mapping[str, Any]) -> dict[str, Plain]:
    path = volume["path"]
    scheme = re.match(r"(?:\w+://)*", path)
    count = scheme[0].count("://") if scheme else 0
    prefix = "" if count > 1 else "precomputed://" if count else "precomputed://file://"
    return {"uri": f"{prefix}{path}", "mip": volume["src_mip"]}


def _path(found: Mapping[str, Any], at: str) -> str:
    path = found.get("path")
    if not isinstance(path, str) or not path:
        raise _wrong(f"{at}.path", "expected the address of a volume", 'such as "gs://bucket/layer"')
    return path


def _mip(found: Mapping[str, Any], key: str, at: str) -> int:
    mip = found.get(key)
    if type(mip) is not int or not 0 <= mip <= _COARSEST:
        raise _wrong(f"{at}.{key}" if at else key, f"expected a mip, a whole number from 0 to {_COARSEST}")
    return mip


def _size(found: Mapping[str, Any], at: str) -> tuple[int, int]:
    """Pixels along y and x."""
    sizes = []
    for key in ("y_size", "x_size"):
        value = found.get(key)
        if type(value) is not int or value < 1:
            raise _wrong(f"{at}.{key}" if at else key, "expected a number of pixels, 1 or more")
        sizes.append(value)
    return sizes[0], sizes[1]


def _known(found: Mapping[str, Any], names: Sequence[str], at: str) -> None:
    for name in found:
        if name not in names:
            raise _wrong(f"{at}.{name}" if at else name, "a specification has no such key", nearest(name, names))


def _plain(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _wrong(at: str, message: str, hint: str = "") -> RequestError:
    return RequestError(message, where=f"{WHERE}, {at}" if at else WHERE, hint=hint)
