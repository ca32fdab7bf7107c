"""The kit's TractogramReaderTests pass a right reader, and fail each kind of wrong for the right reason."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from attrs import frozen
from kit_toys import run_kit

from curate_core.errors import SourceError
from curate_core.grid import Grid
from curate_core.kinds import Context, Reader
from curate_core.model import LayerSource, Tractogram
from curate_core.testing import TractogramReaderTests, make_image

MAGIC = b"LINE"
COUNTS = "<i8"


@frozen
class ToyLines(Reader):
    """Lengths, points and one value of each streamline behind a header."""

    def sniff(self, path: Path) -> str | None:
        with path.open("rb") as file:
            return None if file.read(4) == MAGIC else "it does not begin with LINE"

    def open(self, source: LayerSource, context: Context) -> Any:
        (path,) = source.files
        try:
            if self.sniff(path):
                raise ValueError("it does not begin with LINE")
            content = path.read_bytes()
            length = int.from_bytes(content[4:8], "little")
            header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
            count, total = header["streamlines"], header["points"]
            if len(body) != 8 * count + 12 * total + 4 * (count + total):
                raise ValueError("it is cut short")
            lengths = np.frombuffer(body, COUNTS, count)
            values = np.frombuffer(body, "<f4", offset=8 * count)
        except (OSError, ValueError) as error:
            raise SourceError(f"no toy: {error}", where=str(path)) from error
        points, weights, marks = np.split(values, [3 * total, 3 * total + count])
        grid = Grid(header["shape"], "xyz", np.array(header["affine"]), "mm", oriented=True)
        offsets = np.cumsum(lengths) - lengths
        return Tractogram(points.reshape(-1, 3), offsets, lengths, grid, {"weight": weights[:, None]}, {"mark": marks[:, None]})

    def resident(self, source: LayerSource) -> int:
        return sum(file.stat().st_size for file in source.files)


class ToyLinesTests(TractogramReaderTests):
    component = ToyLines
    suffix = ".line"
    per_streamline = {"weight": 1}  # noqa: RUF012
    per_point = {"mark": 1}  # noqa: RUF012
    tolerance = 0.0

    def make_file(self, folder, lines):
        described = {
            "shape": lines.grid.shape,
            "affine": lines.grid.affine.tolist(),
            "streamlines": len(lines),
            "points": len(lines.points),
        }
        header = json.dumps(described).encode()
        arrays = [lines.lengths.astype(COUNTS), lines.points, lines.per_streamline["weight"], lines.per_point["mark"]]
        path = folder / "lines.line"
        path.write_bytes(MAGIC + len(header).to_bytes(4, "little") + header + b"".join(array.tobytes() for array in arrays))
        return path


def failures(tmp_path: Path, reader: type[Any], **claims: Any) -> dict[str, str]:
    return run_kit(type("Claims", (ToyLinesTests,), {"component": reader, **claims}), tmp_path)


def changed(change: Any) -> type[Any]:
    """A reader whose layers ``change`` makes into others."""
    methods = {"open": lambda self, source, context: change(ToyLines.open(self, source, context))}
    return frozen(type("Bad", (ToyLines,), {"__doc__": "Bad.", "__module__": __name__, **methods}))


def test_a_right_reader_passes(tmp_path):
    assert failures(tmp_path, ToyLines) == {}


def moved(lines: Tractogram) -> Tractogram:
    return attrs.evolve(lines, points=(lines.points + 1).astype(np.float32))


def hasty(lines: Tractogram) -> Tractogram:
    lines.points.max()
    return lines


EVERY = "test_reads_every_streamline"


@pytest.mark.parametrize(
    ("change", "test", "message"),
    [
        (moved, EVERY, "AssertionError: Bad, every streamline, streamline 0: off by 1, more than 0"),
        (
            lambda lines: attrs.evolve(lines, points=lines.points.astype(np.float64)),
            EVERY,
            "AssertionError: Bad: points, offsets, lengths are float64, int64, int64, expected float32, int64, int64",
        ),
        (
            lambda lines: attrs.evolve(lines, lengths=lines.lengths[::-1], offsets=lines.offsets[::-1]),
            EVERY,
            "AssertionError: Bad, every streamline: streamlines of [2, 30, 1, 5] points, expected [5, 1, 30, 2]",
        ),
        (
            lambda lines: attrs.evolve(lines, per_streamline={}),
            EVERY,
            "AssertionError: Bad, every streamline: no data 'weight' of each streamline",
        ),
        (lambda lines: attrs.evolve(lines, per_point={}), EVERY, "AssertionError: Bad, every streamline: no data 'mark' of each point"),
        (
            lambda lines: attrs.evolve(lines, per_point={"mark": lines.per_point["mark"][::-1]}),
            EVERY,
            "AssertionError: Bad, every streamline, data 'mark' of each point: off by ",
        ),
        (
            lambda lines: make_image(np.zeros((2, 2, 2))),
            EVERY,
            "AssertionError: Bad.open gave Image, expected a Tractogram",
        ),
        (
            lambda lines: attrs.evolve(lines, grid=attrs.evolve(lines.grid, unit="nm")),
            "test_grid",
            "AssertionError: Bad: axes, shape and unit of the grid are ('xyz', (14, 12, 10), 'nm'), expected ('xyz', (14, 12, 10), 'mm')",
        ),
        (
            lambda lines: attrs.evolve(lines, grid=attrs.evolve(lines.grid, affine=np.eye(4))),
            "test_grid",
            "AssertionError: Bad: the grid has the affine [[1.0, 0.0, 0.0, 0.0], ",
        ),
        (hasty, "test_no_streamlines", "ValueError: zero-size array to reduction operation maximum"),
    ],
)
def test_bad_readers(tmp_path, change, test, message):
    assert failures(tmp_path, changed(change))[test].startswith(message)


def test_memory_that_is_not_told(tmp_path):
    name = "test_says_what_it_occupies"
    said = failures(tmp_path / "mapped", ToyLines, memory_mapped=True)
    assert set(said) == {name}
    assert said[name].startswith("AssertionError: ToyLines.resident says ")
    assert said[name].endswith(" bytes, expected 0 for a memory-mapped layer")
    unsure = frozen(type("Bad", (ToyLines,), {"__doc__": "Bad.", "resident": lambda self, source: 0.5}))
    assert failures(tmp_path / "unsure", unsure) == {name: "AssertionError: Bad.resident says 0.5, expected bytes as a whole number"}
    hiding = frozen(type("Bad", (ToyLines,), {"__doc__": "Bad.", "resident": lambda self, source: 0}))
    for number, mapped in enumerate((True, False)):
        said = failures(tmp_path / str(number), hiding, memory_mapped=mapped)
        assert set(said) == {name}
        assert re.fullmatch(r"AssertionError: Bad holds \d{7} bytes of 50 streamlines, its resident says 0", said[name])
