"""Where arrays of samples lie in files: what writers tell, and are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from curate_core.model import Plain


@frozen
class Placement:
    """Where one array of a sample lies.

    Attributes:
        file: path relative to the dataset's folder, ``/`` between parts.
        place: where in the file, for the writer's ``read``; None: the file holds just this.
        shape, dtype: of the array as ``read`` gives it back.
        sha256: ``digest_of`` it, where the writer knows that already; None: it is read back.
    """

    file: str
    place: Plain
    shape: tuple[int, ...]
    dtype: str
    sha256: str | None = None


@frozen
class Piece:
    """One array of one sample, written somewhere, to be assembled into a dataset's file.

    Attributes:
        path: the file that holds it now: a part, or the dataset's earlier file.
        place: where in it.
        sample: id of the sample.
        array: name of the array.
        case: id of the case.
        attributes: the sample's attributes.
    """

    path: Path
    place: Plain
    sample: str
    array: str
    case: str
    attributes: Mapping[str, Plain]
