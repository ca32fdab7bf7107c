"""Cases from files that fit a pattern."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import frozen

from curate_core.errors import RequestError
from curate_core.kinds import Source
from curate_core.model import CaseSource, LayerSource, Plain
from curate_core.options import option
from curate_core.patterns import Match, field_names, find, natural_key


@frozen
class FilesSource(Source):
    """Files that fit a pattern with named fields.

    ``{case}`` is the id of the case (without it: all fields, joined by ``-``), ``{layer}`` names the layer, every other field becomes an
    attribute. ``*`` matches within a folder level, ``**`` any number of levels; a pattern that ends with ``/`` matches folders. Hidden
    files and finished datasets are never found.

    Example::

        "source": {"use": "files", "pattern": "scans/{center}/{case}/{layer}.nii.gz"}
    """

    version: ClassVar[int] = 1
    pattern: str | tuple[str, ...] = option(doc="Pattern of the files' paths, or several.", min_length=1)
    root: Path = option(doc="Folder where patterns start.", default=Path())
    layer: str = option(doc="Name of the layer where the pattern has no {layer}.", default="image", min_length=1)
    number_within: tuple[str, ...] | None = option(
        doc="Number the cases that share these attributes, from 0 on in order of their ids, as the attribute 'number'.", default=None
    )
    follow_links: bool = option(doc="Take files that a symbolic link outside of the root leads to.", default=False)

    def find(self) -> Iterable[CaseSource]:
        patterns = [self.pattern] if isinstance(self.pattern, str) else list(self.pattern)
        found: dict[str, dict[str, Match]] = {}
        for pattern in patterns:
            names = field_names(pattern)
            if not names:
                message = f"the pattern {pattern!r} has no field, so that all its files would be one case"
                raise RequestError(message, where="source.pattern", hint="name what varies, such as {case}")
            self._check_numbering(names)
            for match in find(self.root, pattern):
                self._check_link(match.path)
                case = match.fields.get("case") or "-".join(match.fields[name] for name in names if name not in ("layer", "ext"))
                layer = match.fields.get("layer", self.layer)
                layers = found.setdefault(case, {})
                if layer in layers and layers[layer].path == match.path:
                    continue  # patterns may overlap; the first that takes a file names its fields
                if layer in layers:
                    message = f"case {case!r} has two files for the layer {layer!r}: {layers[layer].path} and {match.path}"
                    raise RequestError(message, where="source.pattern", hint="narrow the pattern, or add a field that tells them apart")
                layers[layer] = match
        if not found:
            raise RequestError(
                f"no file fits {' or '.join(map(repr, patterns))}", where="source.pattern", hint=_what_is_there(self.root, patterns[0])
            )
        numbers: dict[tuple[Plain, ...], int] = {}
        for case in sorted(found, key=natural_key):
            layers = dict(sorted(found[case].items()))
            sources = {name: LayerSource((match.path,)) for name, match in layers.items()}
            attributes = _attributes(layers)
            if self.number_within is not None:
                group = tuple(attributes.get(name) for name in self.number_within)
                attributes["number"] = numbers[group] = numbers.get(group, -1) + 1
            yield CaseSource(case, sources, attributes, root=self.root)

    def _check_numbering(self, names: Sequence[str]) -> None:
        if self.number_within is None:
            return
        missing = [name for name in self.number_within if name not in names]
        if missing or "number" in names:
            what = f"there is no field {missing[0]!r}" if missing else "a field is called 'number', as the number itself would be"
            message = f"cases cannot be numbered within {', '.join(self.number_within)}: {what}"
            raise RequestError(message, where="source.number_within", hint=f"the fields of the pattern are {', '.join(names)}")

    def _check_link(self, path: Path) -> None:
        if self.follow_links or not any(
            part.is_symlink() for part in (path, *path.parents) if part != self.root and part.is_relative_to(self.root)
        ):
            return
        if not path.resolve().is_relative_to(self.root.resolve()):
            message = f"a symbolic link leads out of the root: {path} is {path.resolve()}"
            raise RequestError(message, where="source.pattern", hint='set "follow_links": true to take it')


def _attributes(layers: Mapping[str, Match]) -> dict[str, Plain]:
    """Fields that all files of a case agree on."""
    shared: dict[str, Plain] = {}
    for name in dict.fromkeys(key for match in layers.values() for key in match.fields):
        values = {match.fields.get(name) for match in layers.values()}
        if name not in ("case", "layer") and len(values) == 1:
            shared[name] = values.pop()
    return shared


def _what_is_there(root: Path, pattern: str) -> str:
    """A hint: the part of the pattern that exists, and what lies there."""
    folder = Path("/") if pattern.startswith("/") else root
    for part in pattern.strip("/").split("/")[:-1]:
        if "{" in part or "*" in part or not (folder / part).is_dir():
            break
        folder = folder / part
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir() if not entry.name.startswith("."))
    return f"{folder} holds {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else f"{folder} is empty"
