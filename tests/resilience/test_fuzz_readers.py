"""Readers and damaged files: what is opened works, what is not is refused by name; never another exception, a hang, a crash, a gigabyte.

Real files (of nibabel, and written by SimpleITK, tifffile, mrcfile and numpy) are mutated with a fixed seed: bytes flipped, numbers in
headers set to extremes, parts cut out, repeated and spliced; headers more often than voxels, and behind compression as well. They are
opened and cut in a process of their own, whose memory is limited and which may die, and once through ``curate run``, whose workers may.

``CURATE_FUZZ=200`` sets the mutations of each file (12), ``CURATE_FUZZ_SEED`` their seed (0), ``CURATE_FUZZ_FILES`` a folder of more real
files; this module run as a program says what came of it::

    CURATE_FUZZ=500 python tests/resilience/test_fuzz_readers.py
"""

from __future__ import annotations

import collections
import gzip
import json
import locale
import os
import random
import re
import resource
import select
import struct
import subprocess
import sys
import tempfile
import traceback
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from usage import growth

BUDGET = int(os.environ.get("CURATE_FUZZ", "12"))
SEED = int(os.environ.get("CURATE_FUZZ_SEED", "0"))
MEMORY = 1 << 30
"""Resident bytes that opening and cutting one damaged file may take."""
ADDRESSES = 6 << 30
"""Address space of the process: an allocation by a false size fails in it, instead of taking what the machine has."""
SECONDS = 20
HEADER = 1024
NEEDED = ("curate_itk", "curate_tiff", "curate_mrc")


# Real files.


def volume(dtype: str = "u1", shape: tuple[int, ...] = (6, 20, 24)) -> Any:
    values = np.random.default_rng(len(shape)).integers(0, 200, shape)
    return values.astype(dtype)


def write_seeds(folder: Path) -> list[Path]:
    """Small files of every format that we read, written by other programs; what SimpleITK does to the locale is undone."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        return _write_seeds(folder)
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _write_seeds(folder: Path) -> list[Path]:
    import mrcfile
    import nibabel
    import SimpleITK as sitk  # noqa: N813 - the name that its users know
    import tifffile

    data = Path(nibabel.__file__).parent / "tests" / "data"
    for name in ("0.dcm", "anatomical.nii", "example4d.nii.gz", "functional.nii", "nifti1.hdr", "standard.nii.gz", "example_nifti2.nii.gz"):
        (folder / name).write_bytes((data / name).read_bytes())
    image = sitk.GetImageFromArray(volume("i2"))
    image.SetSpacing((0.5, 1.5, 2.5))
    for name in ("a.nrrd", "b.nhdr", "c.mha", "d.mhd", "e.nii", "f.nii.gz", "g.hdr"):
        sitk.WriteImage(image, str(folder / name), useCompression=False)
    for name in ("h.nrrd", "i.mha"):
        sitk.WriteImage(image, str(folder / name), useCompression=True)
    sitk.WriteImage(sitk.GetImageFromArray(volume("f4", (5, 6, 7, 3)), isVector=True), str(folder / "j.mha"))
    (folder / "k.nrrd").write_text("NRRD0004\ntype: uchar\ndimension: 2\nsizes: 4 3\nencoding: ascii\n\n1 2 3 4\n5 6 7 8\n9 10 11 12\n")
    sitk.WriteImage(sitk.GetImageFromArray(volume("i2", (1, 12, 14))), str(folder / "l.dcm"))
    tifffile.imwrite(folder / "a.tif", volume())
    tifffile.imwrite(folder / "b.tif", volume("u2"), tile=(16, 16), compression="zlib", predictor=True, metadata=None)
    tifffile.imwrite(folder / "c.tif", volume("u1", (20, 24, 3)), compression="lzw", photometric="rgb", rowsperstrip=4)
    tifffile.imwrite(folder / "d.tif", volume("u2"), imagej=True, metadata={"axes": "ZYX", "spacing": 3.0, "unit": "um"})
    tifffile.imwrite(folder / "e.ome.tif", volume("u1", (2, 3, 10, 12)), ome=True, metadata={"axes": "CZYX", "PhysicalSizeX": 0.5})
    tifffile.imwrite(folder / "f.tif", volume("f4"), bigtiff=True, byteorder=">")
    tifffile.imwrite(folder / "g.tif", volume("u1", (32, 32)), compression="jpeg")
    tifffile.imwrite(
        folder / "h.tif", volume("u1", (32, 32)) % 4, photometric="palette", colormap=np.arange(768, dtype="u2").reshape(3, 256)
    )
    tifffile.imwrite(folder / "i.tif", volume("u1", (32, 32)), compression="packbits", photometric="miniswhite")
    for number, dtype in enumerate(("i1", "i2", "f4", "u2", "f2")):
        with mrcfile.new(folder / f"{number}.mrc", overwrite=True) as file:
            file.set_data(volume(dtype))
            file.voxel_size = 2.5
            if number == 1:
                file.set_extended_header(np.zeros(256, "V1"))
    for name, compression in (("z.mrc.gz", "gzip"), ("z.mrc.bz2", "bzip2")):
        with mrcfile.new(folder / name, compression=compression, overwrite=True) as file:
            file.set_data(volume("i2"))
    for number, dtype in enumerate(("u1", ">f4", "bool", "c8")):
        np.save(folder / f"{number}.npy", volume(dtype))
    with (folder / "v2.npy").open("wb") as file:
        np.lib.format.write_array(file, volume(), version=(2, 0))
    extra = os.environ.get("CURATE_FUZZ_FILES")
    for number, path in enumerate(sorted(Path(extra).rglob("*")) if extra else ()):
        if path.is_file() and path.stat().st_size < 2_000_000:
            (folder / f"x{number}-{path.name}").write_bytes(path.read_bytes())
    return sorted(folder.iterdir())


# Mutations.


NUMBERS = (0, 1, 2, 3, 5, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 1_000_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
REALS = (0.0, -0.0, -1.0, 1e-40, 1e30, float("nan"), float("inf"), float("-inf"))
WORDS = (
    b"0",
    b"-1",
    b"1",
    b"nan",
    b"inf",
    b"1e400",
    b"99999999999999999999",
    b"1000000",
    b"",
    b"none",
    b"..",
    b"\0",
    b"\xff",
    b"%",
    b"LIST",
)


def mutate(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """One to four mutations; three of four within the header."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        end = len(out) if rng.random() < 0.25 else min(len(out), HEADER)
        if not end:
            return bytes(out)
        at = rng.randrange(end)
        what = rng.choice(
            ("flip", "flip", "byte", "number", "number", "real", "word", "word", "cut", "truncate", "repeat", "splice", "zeros")
        )
        if what == "flip":
            out[at] ^= 1 << rng.randrange(8)
        elif what == "byte":
            out[at] = rng.choice((0, 0xFF, 0x7F, 0x80, rng.randrange(256)))
        elif what == "number":
            kind, step = rng.choice((("H", 2), ("I", 4), ("I", 4), ("Q", 8)))
            place = at - at % rng.choice((1, step))
            value = rng.choice(NUMBERS) & ((1 << 8 * step) - 1)
            out[place : place + step] = struct.pack(rng.choice("<>") + kind, value)
        elif what == "real":
            out[at - at % 4 : at - at % 4 + 4] = struct.pack(rng.choice("<>") + "f", rng.choice(REALS))
        elif what == "word":
            _replace_word(out, at, rng)
        elif what == "cut":
            del out[at : at + rng.choice((1, 2, 4, 16, 512))]
        elif what == "truncate":
            del out[at:]
        elif what == "repeat":
            piece = bytes(out[at : at + rng.choice((1, 4, 12, 64, 512))])
            out[at:at] = piece * rng.choice((1, 2, 30))
        elif what == "splice":
            start = rng.randrange(max(1, len(other)))
            piece = other[start : start + rng.choice((4, 12, 64, 512))]
            out[at : at + rng.choice((0, len(piece)))] = piece
        else:
            out[at : at + rng.choice((4, 12, 64))] = bytes(rng.choice((4, 12, 64)))
    return bytes(out)


def _replace_word(out: bytearray, at: int, rng: random.Random) -> None:
    """A number or word of a text header becomes another."""
    letters = b"0123456789.-+eabcdfghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    first = last = at
    while first > 0 and out[first - 1] in letters:
        first -= 1
    while last < len(out) and out[last] in letters:
        last += 1
    out[first:last] = rng.choice(WORDS)


def mutations(seeds: list[Path], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of mutated files; the same for the same seed."""
    contents = [path.read_bytes() for path in seeds]
    for path, data in zip(seeds, contents, strict=True):
        rng = random.Random(f"{seed} {path.name}")
        for number in range(count):
            other = rng.choice(contents)
            if data.startswith(b"\x1f\x8b") and rng.random() < 0.7:  # the checksum must fit, or nothing behind it is ever seen
                changed = gzip.compress(mutate(zlib.decompress(data, 31), rng, other), 1, mtime=0)
            else:
                changed = mutate(data, rng, other)
            stem, dot, suffix = path.name.partition(".")
            yield f"{stem}~{number}{dot}{suffix}", changed


# One file, in a process of its own.


def open_and_cut(path: Path) -> str:
    """Open a file as ``auto`` does and cut boxes as a run does; what came of it."""
    from curate_core.cut import cut
    from curate_core.errors import SourceError, StepError
    from curate_core.host import default_host
    from curate_core.kinds import Context
    from curate_core.model import Case, CaseSource, LayerSource
    from curate_core.opening import Opener
    from curate_core.rois import RoiTable
    from curate_core.spec import load

    itk = re.search(r"[13579]\.(nii|hdr)", path.name)  # half of what another reader would take first
    spec = {
        "version": 1, "name": "x", "output": "x", "read": {"*": {"use": "itk" if itk else "auto"}}, "source": {"use": "list", "cases": [{"case": "x"}]},
        "rois": [{"use": "whole"}], "write": [{"use": "npy", "path": "{case}.npy"}],
    }  # fmt: skip
    opener = Opener(load(spec, default_host()), default_host(), lambda step, case: Context("read", 0))
    source = CaseSource("x", {"image": LayerSource((path,))})
    try:
        opener.companions(source)
        resident = opener.resident(source)
        layer, _ = opener.layer(source, "image")
        grid = layer.grid
        if not (np.isfinite(grid.affine).all() and all(grid.spacing)):
            return "wrong: the grid is not finite"
        if min(grid.shape) < 1:
            return f"wrong: the shape is {grid.shape}"
        if resident > MEMORY // 2:
            return "refused by the engine's memory"
        case = Case("x", {"image": layer})
        shape = np.array(grid.shape)
        size = np.minimum(shape, 8)
        start = np.array([0 * shape, shape - size, (shape - size) // 2])
        batch = cut(case, RoiTable.boxes(start, start + size, grid.axes), ["a", "b", "c"], np.arange(3))
        values = batch.arrays["image"]
        if values.shape != (3, *size) or values.dtype != layer.dtype:
            return f"wrong: boxes of {size.tolist()} {layer.dtype} gave {values.shape} {values.dtype}"
        whole = np.asarray(layer.array[tuple(slice(0, int(n)) for n in np.minimum(shape, 64))])
        if not np.array_equal(whole[tuple(slice(0, int(n)) for n in size)].view(np.uint8), np.ascontiguousarray(values[0]).view(np.uint8)):
            return "wrong: two reads differ"
    except (SourceError, StepError) as error:
        if "reading failed with" in error.message or ("cannot be read: " in error.message and "layer 'image'" in error.message):
            return f"unforeseen: {error.message}"
        return f"refused: {error}"
    except Exception:
        return f"broken: {traceback.format_exc()}"
    return "opened"


def serve() -> None:
    """Open the files named on stdin; a line of JSON each."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        with growth() as used:
            said = open_and_cut(Path(line.rstrip("\n")))
        print(json.dumps([said, used["bytes"]]), flush=True)


class Child:
    """A process that opens files until it dies, and then another."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def open(self, path: Path) -> str:
        if self.process is None:
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
            command = [sys.executable, "-W", "error::RuntimeWarning", __file__, "serve"]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        print(path, file=process.stdin, flush=True)
        if not select.select([process.stdout], [], [], SECONDS)[0]:
            self.close()
            return f"hang: longer than {SECONDS} s"
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self.process = None
            return f"crash: exit code {code}"
        said, used = json.loads(line)
        return said if used < MEMORY or said.startswith(("broken", "wrong")) else f"memory: {used >> 20} MB"

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


GOOD = ("opened", "refused")


def try_all(folder: Path, count: int, seed: int) -> tuple[collections.Counter[str], dict[str, str]]:
    """Outcomes counted, and the bad ones by file; those files stay in ``folder``."""
    originals = folder / "seeds"
    originals.mkdir()
    seeds = write_seeds(originals)
    work = folder / "work"
    work.mkdir()
    for path in seeds:  # the voxels beside headers
        if path.suffix in (".raw", ".img"):
            (work / path.name).write_bytes(path.read_bytes())
    child = Child()
    counts: collections.Counter[str] = collections.Counter()
    bad: dict[str, str] = {}
    try:
        for path in seeds:
            said = child.open(path)
            counts[f"seed {said.partition(':')[0]}"] += 1
        for name, content in mutations([p for p in seeds if p.suffix not in (".raw", ".img")], count, seed):
            path = work / name
            path.write_bytes(content)
            said = child.open(path)
            counts[said.partition(":")[0]] += 1
            if said.startswith(GOOD):
                path.unlink()
            else:
                bad[name] = said
    finally:
        child.close()
    return counts, bad


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")


def need_readers() -> None:
    for name in NEEDED:
        pytest.importorskip(name)


def test_whatever_is_changed_a_file_opens_or_is_refused(tmp_path: Path) -> None:
    need_readers()
    counts, bad = try_all(tmp_path, BUDGET, SEED)
    assert not bad, "\n".join(f"{name}: {said}" for name, said in bad.items())
    assert counts["seed opened"] > 35
    assert counts["opened"] > 10 * BUDGET
    assert counts["refused"] > 10 * BUDGET


def test_through_the_engine_every_damaged_file_is_a_sample_or_in_quarantine(tmp_path: Path) -> None:
    """As a user meets them: in workers, which may die, beside good files."""
    need_readers()
    for name in ("seeds", "data"):
        (tmp_path / name).mkdir()
    seeds = [path for path in write_seeds(tmp_path / "seeds") if path.suffix not in (".raw", ".img")]
    for path in (tmp_path / "seeds").glob("?.[ri][am][wg]"):
        (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
    cases = [{"case": "good", "layers": {"image": {"files": str(tmp_path / "seeds" / "0.npy")}}}]
    for name, content in mutations(seeds, 4, SEED + 1):
        (tmp_path / "data" / name).write_bytes(content)
        cases.append({"case": name, "layers": {"image": {"files": str(tmp_path / "data" / name)}}})
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    spec = {
        "version": 1, "name": "fuzz", "source": {"use": "list", "table": "cases.json"}, "rois": [{"use": "whole"}],
        "write": [{"use": "npy", "path": "{case}.npy"}], "output": "out",
        "engine": {"use": "local", "workers": 2, "memory": "1 GB", "timeout": 60},
    }  # fmt: skip
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "curate_core", "run", "spec.json"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    bad = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    good = [json.loads(line)["case"] for line in (tmp_path / "out" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted([*good, *(line["case"] for line in bad)]) == sorted(case["case"] for case in cases)
    assert "good" in good
    assert len(good) > 40
    for line in bad:
        assert line["step"] in ("read", "unit"), line
        assert "bug in" not in line["reason"], line
        assert "was lost twice" not in line["reason"], line


# What the fuzzer found, each as the least input that shows it.


def element(group: int, number: int, kind: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", group, number, kind, 0, length)


def tiff(changes: dict[int, int | None]) -> bytes:
    """A little-endian file of 4 x 4 deflated bytes, with tags changed, added or left out."""
    tags = {256: 4, 257: 4, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: 4, 279: 16, **changes}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()) if value is not None]
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(entries) + bytes(100)


def mha(fields: str) -> bytes:
    return f"ObjectType = Image\n{fields}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode() + bytes(210)


META = bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + b"1.2.840.10008.1.2.4.50"
FOUND = {
    "strips of no rows": ("a.tif", tiff({278: 0}), "is cut into strips of 0 rows, expected at least one"),
    "tiles of no rows": ("a.tif", tiff({278: None, 322: 16, 323: 0}), "is cut into tiles of 0 x 16, expected at least one"),
    "a number of axes beyond all numbers": (  # a segmentation fault in SimpleITK
        "a.mha",
        mha("NDims = 99999999999999999999 3\nDimSize = 7 6 5"),
        "its header says '99999999999999999999 3' axes, and the sizes '7 6 5'",
    ),
    "more axes than sizes": ("a.mha", mha("NDims = 9\nDimSize = 7 6 5"), "its header says '9' axes, and the sizes '7 6 5'"),
    "two numbers of axes": ("a.mha", mha("NDims = 3\nNDims = 9\nDimSize = 7 6 5"), "its header says 'NDims' twice"),
    "a NUL in the name of the voxels' file": (
        "a.mhd",
        b"NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = a\0b.raw\n",
        r"names 'a\\x00b.raw' as the file of its voxels, which no file is called",
    ),
    "an element without end in the first group": (  # 1.2 GB, which GDCM never gave back
        "a.dcm",
        bytes(128) + b"DICM" + element(2, 14, b"OB", 0x4B54492F) + bytes(500),
        r"its element \(0002,000e\) announces 1,263,814,959 bytes, 500 are left",
    ),
    "an element of a type that there is not": (
        "a.dcm",
        bytes(128) + b"DICM" + element(2, 14, b"GD", 2) + bytes(500),
        "one of its elements names a type that there is not",
    ),
    "a transfer syntax that lies": (  # 1.4 GB and ten seconds for a file of 4 kB
        "a.dcm",
        META + struct.pack("<HHI", 8, 8, 24) + b"DERIVED\\SECONDARY\\OTHER " + bytes(500),
        "its transfer syntax says that elements name their types, and they do not",
    ),
    "compressed voxels that are not in pieces": (  # 4 GB
        "a.dcm",
        META + element(0x7FE0, 0x10, b"OB", 0xFFFFFFFF) + b"\0\0LI" + bytes(500),
        "its compressed voxels do not lie in pieces one after the other",
    ),
    "a frame that is larger than its rows and columns": (
        "a.dcm",
        META + struct.pack("<HH2sHHHH2sHH", 0x28, 0x10, b"US", 2, 64, 0x28, 0x11, b"US", 2, 64) + element(0x7FE0, 0x10, b"OB", 0xFFFFFFFF)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, 40) + b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff" + bytes(60),
        "a compressed frame announces 4,294,836,225 pixels, its rows and columns 4,096",
    ),
    "an element without end behind the first group": (
        "a.dcm",
        bytes(128) + b"DICM" + element(2, 1, b"OB", 2) + b"\0\1" + element(8, 0x3001, b"OB", 0x7FFFFFF0) + bytes(500),
        r"its element \(0008,3001\) announces 2,147,483,632 bytes, 500 are left",
    ),
    "an element without end inside of a sequence": (
        "a.dcm",
        bytes(128) + b"DICM" + element(2, 1, b"OB", 2) + b"\0\1" + element(8, 0x1140, b"SQ", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        + element(8, 0x3001, b"UN", 0x7FFFFFF0) + bytes(500),
        r"its element \(0008,3001\) announces 2,147,483,632 bytes, 500 are left",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(FOUND))
def test_what_was_found_before(tmp_path: Path, what: str) -> None:
    need_readers()
    name, content, words = FOUND[what]
    (tmp_path / name).write_bytes(content)
    with growth() as used:
        said = open_and_cut(tmp_path / name)
    assert re.search(words, said), said
    assert said.startswith("refused: ")
    assert used["bytes"] < 300 << 20


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        place = Path(tempfile.mkdtemp(prefix="curate-fuzz-"))
        found, wrong = try_all(place, BUDGET, SEED)
        groups = collections.defaultdict(list)
        for name, said in wrong.items():
            groups[said].append(name)
        for said, names in sorted(groups.items(), key=lambda entry: -len(entry[1])):
            print(f"{len(names)} x {names[:3]}\n{said}")
        print(dict(found), "in", place)
