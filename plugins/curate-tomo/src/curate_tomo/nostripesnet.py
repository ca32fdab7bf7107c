"""Command lines of NoStripesNet's data generator as specs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
from attrs import frozen

from curate_core import Importer, Plain, RequestError, option
from curate_core.errors import nearest
from curate_tomo.nostripesnet_real import real_spec

MODES = ("simple", "complex", "raw", "paired", "dynamic", "patch")
REAL = MODES[2:]
_SHORT = {
    "-m": "mode", "-r": "root", "-N": "size", "-o": "objects", "-s": "shifts", "-p": "shiftstep", "-f": "flatsnum",
    "-I": "I0", "-C": "chunk_size",
}  # fmt: skip
_COMMAND = "data_generator"
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@frozen
class NoStripesNet(Importer):
    """A command line of NoStripesNet's data generator, or a script that holds one.

    The file holds ``python -m simulator.data_generator`` and its flags, in one line or several, with variables that the script sets; or the
    flags alone. Flags given to ``curate import`` win. ``-s`` is the number of shifts; samples are spelt out. Flags that a mode does not use
    are left aside, as the generator does. All modes become specs; those of real scans need ``--hdf-root``, paired and patch find the mask
    of stripes with ``stripe-mask``, unless ``--mask`` names an archive. Dynamic scans keep all frames, where the generator loses every
    second one.

    Example::

        curate import nostripesnet data_generator.sh -o spec.json --samples 10
    """

    version: ClassVar[int] = 1
    mode: Literal["simple", "complex", "raw", "paired", "dynamic", "patch"] | None = option(doc="Method; complex by default.", default=None)
    root: str | None = option(doc="Folder of the dataset; ./data by default.", default=None, min_length=1)
    samples: int | None = option(doc="Samples; 1 by default.", default=None, ge=1)
    start: int | None = option(doc="Number of the first sample; 0 by default.", default=None, ge=0)
    size: int | None = option(doc="Voxels along each edge of a sample; 256 by default.", default=None, ge=2)
    objects: int | None = option(doc="Spheres of a sample; 300 by default.", default=None, ge=0)
    shifts: int | None = option(doc="Vertical shifts; 5 by default.", default=None, ge=0)
    shiftstep: int | None = option(doc="Rows from shift to shift; 2 by default.", default=None, ge=0)
    flatsnum: int | None = option(doc="Flat fields; 20 by default.", default=None, ge=1)
    I0: float | None = option(doc="Photons of a pixel in the full beam; 40000 by default.", default=None, gt=0)
    hdf_root: str | None = option(doc="Scan of shift 0, of a real sample.", default=None)
    chunk_size: int | None = option(doc="Sinograms read at once; 243 by default.", default=None, ge=1)
    flats: str | None = option(doc="File of flat and dark fields of a real sample.", default=None)
    mask: str | None = option(doc="Archive of stripe masks.", default=None)
    frame_angles: int | None = option(doc="Angles of a frame of a dynamic scan; 900 by default.", default=None, ge=1)
    patch_size: tuple[int, int] | None = option(doc="Size of patches; 1801 256 by default.", default=None, ge=1)

    def convert(self, text: str, folder: Path) -> dict[str, Plain]:
        chosen = attrs.evolve(self, **{name: value for name, value in _flags(text).items() if getattr(self, name) is None})
        mode = chosen.mode or "complex"
        if mode in REAL:
            return real_spec(mode, {name: _or(value, None) for name, value in attrs.asdict(chosen).items()})
        return chosen.spec(mode)

    def spec(self, mode: str) -> dict[str, Plain]:
        """The spec of a mode of simulated samples."""
        foam: dict[str, Plain] = {"use": "sphere-foam", "size": _or(self.size, 256), "objects": _or(self.objects, 300)}
        preprocess: list[Plain] = [{"use": "project", "layer": "clean"}]
        transform: list[Plain] = [{"use": "scale", "to": "uint16", "over": "case"}]
        if mode == "complex":
            shifts = {"shifts": _or(self.shifts, 5), "shiftstep": _or(self.shiftstep, 2)}
            beam = {"flatsnum": _or(self.flatsnum, 20), "I0": _or(self.I0, 40000)}
            preprocess.append({"use": "flat-fields", "layer": "clean", **shifts, **beam})
        else:
            stripes = {"percentage": 1.2, "max_thickness": 3, "intensity": 0.25, "kind": "mix", "variability": 0}
            transform.insert(0, {"use": "add-stripes", "array": "clean", **stripes})
        return {
            "version": 1,
            "name": f"tomo-{mode}",
            "seed": 0,
            "source": {"use": "simulate", "samples": _or(self.samples, 1), "start": _or(self.start, 0)},
            "read": {"clean": {**foam, "radius": [0.01, 0.25], "intensity": [0.01, 1.0]}},
            "preprocess": preprocess,
            "rois": [{"use": "sinograms"}],
            "transform": transform,
            "write": [{"use": "tiff", "path": "{case:04}/{array}/{case:04}_{array}_{row:04}.tif"}],
            "output": _or(self.root, "./data"),
        }


def _or(value: Any, default: Any) -> Any:
    if value is None:
        return default
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flags(text: str) -> dict[str, Any]:
    """Options by name, from a command line or script; empty for an empty text.

    Raises:
        RequestError: there is no command, an unknown flag, or a value that is none.
    """
    fields = {field.name: field for field in attrs.fields(NoStripesNet)}
    words, found = _words(text), dict[str, Any]()
    while words:
        flag, equals, value = words.pop(0).partition("=")
        if flag in ("-v", "--verbose"):
            continue  # curate has its own
        name = _SHORT.get(flag, flag.removeprefix("--").replace("-", "_") if flag.startswith("--") else "")
        if name not in fields:
            known = [*_SHORT, *(f"--{field.replace('_', '-')}" for field in fields)]
            message = f"the generator has no flag {flag!r}"
            raise RequestError(message, where="nostripesnet", hint=nearest(flag, known))
        values = [value] if equals else [words.pop(0) for _ in range(2 if name == "patch_size" else 1) if words]
        found[name] = _value(name, flag, values)
    return found


def _words(text: str) -> list[str]:
    """The words behind the generator's name, variables filled in."""
    variables: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            message = f"a line cannot be split into words: {error}: {line.strip()[:80]!r}"
            raise RequestError(message, where="nostripesnet") from error
        if words[:1] == ["export"]:
            del words[0]
        assignments = [_ASSIGNMENT.fullmatch(word) for word in words]
        if all(assignments):
            variables.update((found[1], found[2]) for found in assignments if found)
            continue
        place = next((i for i, word in enumerate(words) if _COMMAND in word.rpartition("/")[2]), -1)
        if place >= 0 or (words and words[0].startswith("-")):
            return [_fill(word, variables) for word in words[place + 1 :]]
    if text.strip():
        message = f"there is neither a command with {_COMMAND} in it nor a line of flags"
        raise RequestError(message, where="nostripesnet", hint='such as "python -m simulator.data_generator -m simple"')
    return []


def _fill(word: str, variables: dict[str, str]) -> str:
    def of(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in variables:
            message = f"the script does not set the variable {name!r}"
            raise RequestError(message, where="nostripesnet", hint="set it in the script, or give the flags to curate import")
        return variables[name]

    return _VARIABLE.sub(of, word)


def _value(name: str, flag: str, values: list[str]) -> Any:
    """A flag's value in its type."""
    try:
        if name == "mode":
            if values[0] not in MODES:
                message = f"{values[0]!r} is not a mode: one of {', '.join(MODES)}"
                raise RequestError(message, where="nostripesnet")
            return values[0]
        if name in ("root", "hdf_root", "flats", "mask"):
            return values[0]
        if name == "I0":
            return float(values[0])
        if name == "patch_size":
            first, second = values
            return int(first), int(second)
        return int(values[0])
    except (ValueError, IndexError) as error:
        wanted = "two whole numbers" if name == "patch_size" else "a number"
        message = f"{flag} needs {wanted if values or name == 'patch_size' else 'a value'}, not {' '.join(values) or 'nothing'}"
        raise RequestError(message, where="nostripesnet") from error
