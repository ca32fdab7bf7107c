"""``curate create-spec``: points become the pairs of a specification."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from curate_align.pairs import both_ways, paired
from curate_align.pairspec import write_pairs
from curate_align.points import Points, load_points
from curate_core import Command, NDArray, RequestError
from curate_core.jsonfile import parse_json


@frozen
class CreateSpec(Command):
    """Fill metroem's template of a dataset with pairs of sections at points.

    Example::

        curate create-spec --src_spec_path spec_template.json --dst_spec_path spec.json --points_path points.csv --offsets -1 -2 -3
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--src_spec_path", metavar="FILE", type=Path, required=True, help="the template: a specification without pairs")
        add("--dst_spec_path", metavar="FILE", type=Path, required=True, help="the specification to write")
        add("--points_path", metavar="FILE", type=Path, required=True, help="points: a CSV that neuroglancer exported, x0,y0,z0 or a state")
        add("--offsets", metavar="N", type=int, nargs="+", required=True, help="sections from a point's to the other of a pair; one each")
        add("--permute_pairs", action="store_true", help="give each pair the other way round, too")
        add("--anchor", choices=("corner", "centre"), default="corner", help="what a point is of its boxes (corner)")
        add("--annotations", metavar="NAME", help="annotation layer of a state that has several")
        add("--voxel", metavar="NM", type=float, nargs=3, help="x y z of a voxel of mip 0, for states, whose places may count others")
        add("--overwrite", action="store_true", help="replace the specification if it is there")

    def run(self, arguments: argparse.Namespace) -> int:
        target: Path = arguments.dst_spec_path
        if target.exists() and not arguments.overwrite:
            message = "the specification is there already"
            raise RequestError(message, where=str(target), hint="choose another, or replace it with --overwrite")
        if 0 in arguments.offsets:
            message = "an offset of 0 pairs a section with itself"
            raise RequestError(message, where="--offsets")
        template = read_template(arguments.src_spec_path)
        points = load_points(arguments.points_path, arguments.annotations)
        if points.tgt is not None:
            message = "the file lists pairs already"
            raise RequestError(message, where=str(arguments.points_path), hint="give points")
        scale = _scale(points, arguments.voxel, str(arguments.points_path))
        src, tgt, _ = paired(points, scale, tuple(arguments.offsets), template["max_mip"])
        if arguments.permute_pairs:
            src, tgt = both_ways(src, tgt)
        filled = {**template, "pairs": write_pairs(src, tgt, arguments.anchor)}
        try:
            target.write_text(json.dumps(filled, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            message = f"it cannot be written: {error.strerror or error}"
            raise RequestError(message, where=str(target)) from error
        if not arguments.quiet:
            count = "1 pair" if len(src) == 1 else f"{len(src)} pairs"
            print(f"{target}: {count}; curate import metroem {target} -o SPEC makes a spec of it")  # noqa: T201
        return 0


def read_template(path: Path) -> dict[str, Any]:
    """A specification without pairs.

    Raises:
        RequestError: it cannot be read, has no image or no ``max_mip``, or has pairs already.
    """
    where = str(path)
    try:
        template = parse_json(path.read_text(encoding="utf-8-sig"), where)
    except (OSError, UnicodeDecodeError) as error:
        message = f"the template cannot be read: {getattr(error, 'strerror', None) or error}"
        raise RequestError(message, where=where) from error
    if not isinstance(template, dict) or not isinstance(template.get("image"), dict):
        message = 'the template has no "image"'
        raise RequestError(message, where=where, hint="begin with specs/align/spec_template.json")
    max_mip = template.get("max_mip")
    if type(max_mip) is not int or not 0 <= max_mip <= 40:
        message = 'the template has no "max_mip", a whole number, to whose pixels places are rounded down'
        raise RequestError(message, where=where, hint="give the coarsest mip that is read")
    if template.get("pairs"):
        message = "the template has pairs already"
        raise RequestError(message, where=where, hint='take them out: "pairs": []')
    return template


def _scale(points: Points, voxel: list[float] | None, where: str) -> NDArray:
    """(3,) voxels of mip 0 that the points' coordinates count."""
    if points.voxel is None:
        return np.ones(3)
    if voxel is None:
        shown = " ".join(f"{length:g}" for length in points.voxel)
        message = f"the places of the state count steps of {shown} nm, which may not be voxels of mip 0"
        raise RequestError(message, where=where, hint=f"say what those are, such as --voxel {shown}")
    if min(voxel) <= 0:
        message = f"a voxel of {' '.join(f'{length:g}' for length in voxel)} nm has no size"
        raise RequestError(message, where="--voxel")
    return np.round(np.array(points.voxel) / voxel, 9)
