"""Content hashes and keys: what a result depends on, as one name."""

from __future__ import annotations

import hashlib
import json
import os
import stat as stat_of
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray, read
from curate_core.errors import SourceError
from curate_core.model import CaseSource, Plain, Tractogram
from curate_core.options import info_of
from curate_core.spec import Step
from curate_core.structure import unstructure

_CHUNK = 4 << 20
Stamp = tuple[int, ...]
"""(size, times of modification and of status change in ns, inode) of a file, a hash of those of all files of a folder: while it stays, the
content is taken to stay. The time of status change is the one that nobody can set back."""


def key_of(*parts: object) -> str:
    """A name for plain values: equal values give equal names, on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if attrs.has(type(value)):
        return unstructure(value)
    if isinstance(value, Path):
        return str(value)
    message = f"{type(value).__name__} has no place in a key"
    raise TypeError(message)


def refuse_special(path: Path) -> None:
    """Refuse what is neither a file nor a folder: to open a pipe or a device may never end.

    Raises:
        SourceError: it is such a thing; what is not there is for others to notice.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not (stat_of.S_ISREG(mode) or stat_of.S_ISDIR(mode)):
        message = "it is a pipe, a socket or a device, expected a file or a folder"
        raise SourceError(message, where=str(path), hint="copy what comes out of it into a file")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's names and contents.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        if path.is_dir():
            entries = sorted(p for p in path.rglob("*") if p.is_file())
            return key_of([[p.relative_to(path).as_posix(), file_digest(p)] for p in entries])
        refuse_special(path)
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        raise SourceError(message, where=str(path)) from error


def stamp(path: Path) -> Stamp | None:
    """What tells, without reading, that a file or a folder's content may have changed; None for what is missing."""
    try:
        if path.is_dir():
            found = [[p.relative_to(path).as_posix(), *_stamp_of(p)] for p in sorted(path.rglob("*")) if p.is_file()]
            return (len(found), int(key_of(found)[:12], 16))
        return _stamp_of(path)
    except OSError:
        return None


def _stamp_of(file: Path) -> Stamp:
    status = file.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@frozen
class Known:
    """What is known of a source file's content.

    Attributes:
        stamp: of the file, taken before it was read; None: it cannot tell of changes.
        digest: of its content and that of its companions.
        companions: (path, stamp) of other files that it leads to.
    """

    stamp: Stamp | None
    digest: str
    companions: tuple[tuple[str, Stamp | None], ...] = ()

    def holds(self, path: Path) -> bool:
        """Whether, by the stamps, the content is still the same."""
        if self.stamp is None or self.stamp != stamp(path):
            return False
        return all(known is not None and known == stamp(Path(other)) for other, known in self.companions)


def known_content(path: Path, companions: Sequence[Path]) -> Known:
    """Read a file and its companions; stamps are taken first.

    Raises:
        SourceError: one cannot be read, or changes meanwhile.
    """
    own, others = stamp(path), tuple((str(other), stamp(other)) for other in companions)
    digest = file_digest(path)
    if companions:
        digest = key_of(digest, [file_digest(other) for other in companions])
    known = Known(own, digest, others)
    if not known.holds(path):
        message = "the file changed while it was read"
        raise SourceError(message, where=str(path), hint="run again when it is complete")
    return known


def source_key(case: CaseSource, digests: Mapping[Path, str], seed: int) -> str:
    """What a case depends on before any step: contents, names within it, attributes and seed; not where its files lie."""
    layers = {
        name: [
            [digests[file] for file in layer.files], _relative(layer.uri, case), layer.join, layer.spacing, layer.unit,
            _placeless(layer.options, case),
        ]
        for name, layer in case.layers.items()
    }  # fmt: skip
    roles = {name: [role.inputs, role.targets] for name, role in case.roles.items()}
    return key_of("source", case.id, list(layers.items()), case.attributes, roles, seed)


def _placeless(options: Mapping[str, Plain], case: CaseSource) -> dict[str, Plain]:
    """Options of one layer; folders and files below the source's root count from there, as the files of layers do."""
    root = str(case.root)
    inside = {name for name, value in options.items() if isinstance(value, str) and Path(value).is_relative_to(root)}
    return {name: os.path.relpath(str(value), root) if name in inside else value for name, value in options.items()}


def source_names(case: CaseSource) -> dict[str, Plain]:
    """Layer -> its files relative to the source's root, or its address: what the manifest tells of sources."""
    described: dict[str, Plain] = {}
    for name, layer in case.layers.items():
        files = [os.path.relpath(file, case.root).replace(os.sep, "/") for file in layer.files]
        described[name] = files or ([_relative(layer.uri, case)] if layer.uri else [])
    return described


def _relative(uri: str, case: CaseSource) -> str:
    """An address; one of a place below the source's root counts from there, as files do."""
    before, mark, path = uri.partition("file://")
    below = mark and path.startswith("/") and Path(path).is_relative_to(case.root) and case.root != Path("/")
    return f"{before}{mark}{Path(path).relative_to(case.root).as_posix()}" if below else uri


def step_identity(step: Step) -> Plain:
    """What a step's result depends on besides its input: component, version, options, and contents of files that they name."""
    if step.offer is None or step.cls is None:
        return [step.name, sorted(step.when.items())]
    options: dict[str, Any] = dict(step.options) if step.component is None else unstructure(step.component)
    for field in attrs.fields(cast(Any, step.cls)):
        if not info_of(field).keyed:
            options.pop(field.name, None)
        value = options.get(field.name)
        if value is None or field.name not in step.path_options:
            continue
        names = [value] if isinstance(value, str) else list(value)
        content = info_of(field).content
        options[field.name] = [file_digest(step.folder / n) if content else os.path.relpath(step.folder / n, step.folder) for n in names]
    code = code_digest(step.cls.__module__) if step.offer.editable and step.offer.distribution != "curate-core" else step.offer.version
    when = [[key, list(values)] for key, values in sorted(step.when.items())]
    return [step.name, step.offer.qualified, step.version, code, options, when]


def identities(steps: Sequence[Step]) -> list[Plain]:
    """The identities of several steps, in order."""
    return [step_identity(step) for step in steps]


def digest_of(values: NDArray | Tractogram) -> str:
    """SHA-256 of an array's values in C order and little-endian, or of a tractogram's points, offsets, lengths and data."""
    if isinstance(values, Tractogram):
        found = [digest_of(read(array)) for array in (values.points, values.offsets, values.lengths)]
        for data in (values.per_streamline, values.per_point):
            found += [text for name in sorted(data) for text in (key_of(name), digest_of(read(data[name])))]
        return hashlib.sha256("".join(found).encode()).hexdigest()
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return hashlib.sha256(plain.view(np.uint8).data if plain.ndim else plain.tobytes()).hexdigest()


@lru_cache(maxsize=256)
def code_digest(module: str) -> str:
    """Hash of the package that holds a module: local and editable code is keyed by its content, as its version says little.

    Of a package without ``__init__.py``, whose folders may be anywhere, the module alone counts.
    """
    file = getattr(import_module(module.partition(".")[0]), "__file__", None) or getattr(import_module(module), "__file__", None)
    if file is None:
        return ""
    folder = Path(file).parent
    files = sorted(folder.rglob("*.py")) if Path(file).name == "__init__.py" else [Path(file)]
    return key_of([[os.path.relpath(f, folder), hashlib.sha256(f.read_bytes()).hexdigest()] for f in files])


def canonical(value: Any) -> str:
    """JSON with sorted keys and an end of line, for files that people and diffs read."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=_plain) + "\n"
