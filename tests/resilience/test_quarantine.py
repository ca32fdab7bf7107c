"""A bad file costs its own case: the rest finishes, ``quarantine.jsonl`` says what and why, and once mended nothing shows of it.

One folder holds a good file of every format that we read and what can be wrong with each; one run meets them all.
"""

from __future__ import annotations

import bz2
import ctypes
import gzip
import hashlib
import json
import locale
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from usage import measured

import curate_core
from curate_core.hookspec import hookimpl

VOXELS = np.random.default_rng(0).integers(1, 250, (4, 12, 14)).astype(np.uint8)
SPEC = {
    "version": 1,
    "name": "zoo",
    "source": {"use": "files", "root": "data", "pattern": ["{case}.{ext}", "{layer}/{case}/"]},
    "read": {"series": {"use": "dicom-series"}, "*": [{"use": "itk", "when": {"ext": ["nii", "nii.gz", "mha", "nrrd"]}}, {"use": "auto"}]},
    "preprocess": [{"use": "to-uint8", "range": "min-max"}],
    "rois": [{"use": "whole"}],
    "write": [{"use": "npy", "path": "{case}.npy"}],
    "output": "out",
    "engine": {"use": "local", "workers": 2, "memory": "4 GB"},
}
MEMORY = 600 << 20
"""Resident bytes that a whole run over files of a few kilobytes may take."""
ADDRESSES = 8 << 30


def curate(folder: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which must not hang."""
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "curate_core", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False, **options)


def save(folder: Path, spec: dict[str, Any]) -> str:
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return str(path)


def quarantined(out: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["case"]: line for line in lines}


def tree(out: Path) -> dict[str, str]:
    """Hash of every file of a dataset, what curate keeps for itself left out."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and ".curate" not in path.relative_to(out).parts)
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file of the sources."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


# Good files, and what becomes of them.


def good_files(folder: Path) -> dict[str, bytes]:
    """Suffix -> content of a good file; what is compressed, twice."""
    mrcfile = pytest.importorskip("mrcfile")
    tifffile = pytest.importorskip("tifffile")
    sitk = pytest.importorskip("SimpleITK")
    for plugin in ("curate_itk", "curate_tiff", "curate_mrc"):
        pytest.importorskip(plugin)
    folder.mkdir()
    np.save(folder / "a.npy", VOXELS)
    image = sitk.GetImageFromArray(VOXELS)
    for name in ("a.nrrd", "a.mha", "a.nii", "a.nii.gz"):
        sitk.WriteImage(image, str(folder / name), useCompression=False)
    sitk.WriteImage(image, str(folder / "a.z.nrrd"), useCompression=True)
    tifffile.imwrite(folder / "a.tif", VOXELS, photometric="minisblack")
    tifffile.imwrite(folder / "a.z.tif", VOXELS, compression="zlib", photometric="minisblack")
    for name, compression in (("a.mrc", None), ("a.mrc.gz", "gzip")):
        with mrcfile.new(folder / name, compression=compression) as file:
            file.set_data(VOXELS.astype("i2"))
    return {path.name.removeprefix("a."): path.read_bytes() for path in sorted(folder.iterdir())}


def write_series(folder: Path) -> None:
    """DICOM slices; writing them leaves the process in the C locale, which is undone."""
    sitk = pytest.importorskip("SimpleITK")
    folder.mkdir(parents=True)
    before = locale.setlocale(locale.LC_ALL)
    for index, plane in enumerate(VOXELS):
        piece = sitk.GetImageFromArray(plane[None].astype("i2"))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for tag, value in {"0020|000e": "1.2.3", "0020|0032": f"0\\0\\{index}", "0020|0037": "1\\0\\0\\0\\1\\0"}.items():
            piece.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{index}.dcm"))
        writer.Execute(piece)
    locale.setlocale(locale.LC_ALL, before)


def patch(data: bytes, *changes: tuple[int, str, float]) -> bytes:
    out = bytearray(data)
    for offset, kind, value in changes:
        struct.pack_into(kind, out, offset, value)
    return bytes(out)


def nrrd(fields: str, data: bytes = b"") -> bytes:
    return f"NRRD0004\ntype: uchar\ndimension: 3\n{fields}\n\n".encode() + data


def npy(shape: str, descr: str = "'|u1'", data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def tiff(tags: list[tuple[int, int, int, int]], following: int = 0, tail: bytes = b"", before: int = 8) -> bytes:
    """A little-endian file of one directory: (tag, type, count, value) each."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (
        struct.pack("<2sHI", b"II", 42, before).ljust(before, b"\0")
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", following)
        + tail
    )


def page(width: int, height: int, *, strip: int = 8, nbytes: int = 16, compression: int = 1) -> list[tuple[int, int, int, int]]:
    return [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1), (273, 4, 1, strip),
        (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, nbytes),
    ]  # fmt: skip


def unique(name: str) -> str:
    """``bomb.nii.gz`` -> ``bomb-nii-gz.nii.gz``: the case is named after both."""
    stem, _, suffix = name.partition(".")
    return f"{stem}-{suffix.replace('.', '-')}.{suffix}"


OME = b"""<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0"
DimensionOrder="XYZCT" Type="uint8" SizeX="8" SizeY="8" SizeZ="1000000000" SizeC="1" SizeT="1"><TiffData IFD="0"/></Pixels></Image></OME>\0"""
IMAGEJ = b"ImageJ=1.11a\nimages=1000000000\nslices=1000000000\nhyperstack=true\n\0"


def tiff_saying(description: bytes) -> bytes:
    tags = page(8, 8, strip=300)
    tags.insert(5, (270, 2, len(description), 400))
    return tiff(tags, tail=bytes(400 - 8 - 2 - 10 * 12 - 4) + description)


def bad_files(good: dict[str, bytes]) -> dict[str, tuple[bytes, str]]:
    """Name -> content, and words of the reason."""
    found: dict[str, tuple[bytes, str]] = {}
    for suffix, data in good.items():
        words = (
            r"cut short|damaged|fewer|not there|less than|cannot be read|has no|does not|not JSON|expected|too early|ended|announces|error"
        )
        for number, share in enumerate((0.0, 0.001, 0.02, 0.3, 0.7, 0.97)):
            cut = min(len(data) - 9, int(len(data) * share) + (1 if share else 0))
            if suffix == "tif" and share > 0.9:
                continue  # what is cut there is nothing that counts
            found[f"cut{number}.{suffix}"] = (data[:cut], "empty" if not cut else words)
        wrong = good["npy"] if suffix != "npy" else good["nrrd"]
        found[f"wrong.{suffix}"] = (wrong, "not|does not|no DICOM|has no")
        flipped = bytearray(data)
        if "z" in suffix:
            flipped[len(data) * 3 // 4] ^= 0x10
            found[f"flipped.{suffix}"] = (bytes(flipped), "damaged|decoded|cut short|cannot read")
    nii, mrc = good["nii"], good["mrc"]
    inside = zlib.decompress(good["nii.gz"], 31)
    sizes = [(42 + 2 * i, "<h", 32767) for i in range(3)]
    found |= {
        "zero.npy": (npy("(0, 5, 5)"), "holds no voxels"),
        "zero.nrrd": (nrrd("sizes: 0 4 4\nencoding: raw"), "at least one voxel"),
        "zero.mha": (good["mha"].replace(b"DimSize = 14 12 4", b"DimSize = 14 0 4"), "at least one voxel"),
        "zero.nii": (patch(nii, (44, "<h", 0)), "at least one voxel"),
        "zero.tif": (tiff(page(0, 4), tail=bytes(64)), "shape|damaged"),
        "zero.mrc": (patch(mrc, (8, "<i", 0)), "no size"),
        "minus.mrc": (patch(mrc, (8, "<i", -3)), "no size"),
        "minus.nii": (patch(nii, (44, "<h", -7)), "at least one voxel"),
        "bomb.npy": (npy("(1000000, 1000000, 1000000)", data=bytes(200)), "cut short"),
        "bomb64.npy": (npy("(10000000, 10000000, 10000000)", data=bytes(200)), "cut short"),
        "bomb-wrapped.npy": (npy("(4294967296, 4294967296, 4294967296)", data=bytes(200)), "cut short"),
        "bomb.nrrd": (nrrd("sizes: 1000000 1000000 1000000\nencoding: raw", bytes(300)), "cut short|announces"),
        "bomb64.nrrd": (nrrd("sizes: 10000000 10000000 10000000\nencoding: raw", bytes(300)), "cut short|announces|cannot"),
        "bomb-wrapped.nrrd": (nrrd("sizes: 4294967296 4294967296 4294967296\nencoding: raw", bytes(300)), "cut short|announces|cannot"),
        "bomb-gzip.nrrd": (nrrd("sizes: 1000000 1000000 1000000\nencoding: gzip", gzip.compress(bytes(300))), "announces"),
        "bomb-text.nrrd": (nrrd("sizes: 1000000 1000000 1000000\nencoding: ascii", b"1 2 3 "), "announces"),
        "bomb-bz2.nrrd": (nrrd("sizes: 1000000 1000000 1000000\nencoding: bzip2", bz2.compress(bytes(300))), "announces"),
        "bomb.mha": (good["mha"].replace(b"DimSize = 14 12 4", b"DimSize = 1000000 1000000 1000000"), "cut short|announces"),
        "bomb.nii": (patch(nii, *sizes), "cut short|announces"),
        "bomb.nii.gz": (gzip.compress(patch(inside, *sizes)), "announces"),
        "bomb.mrc": (patch(mrc, *((4 * i, "<i", 1000000) for i in range(3))), "cut short"),
        "bomb.mrc.gz": (gzip.compress(patch(mrc, *((4 * i, "<i", 1000000) for i in range(3)))), "announces"),
        "bomb-offset.mrc.gz": (gzip.compress(patch(mrc, (92, "<i", 0x7FFFFFFF))), "announces"),
        "bomb-behind.mrc.gz": (gzip.compress(mrc + bytes(80 << 20)), "more than 64 MiB follow"),
        "bomb-behind.nii.gz": (gzip.compress(inside + bytes(80 << 20)), "more than 64 MiB follow"),
        "bomb-planes.tif": (tiff_saying(OME), "announces 1,000,000,000 planes"),
        "bomb-images.tif": (tiff_saying(IMAGEJ), "damaged"),
        "bomb-rows.tif": (tiff([*page(4, 4, compression=8)[:7], (278, 4, 1, 0), (279, 4, 1, 16)], tail=bytes(300)), "at least one"),
        "bomb.tif": (tiff(page(1_000_000, 1_000_000), tail=bytes(300)), "announce|damaged"),
        "bomb-zip.tif": (tiff(page(1_000_000, 1_000_000, compression=8), tail=bytes(300)), "announce|damaged"),
        "bomb-strips.tif": (tiff([*page(64, 64)[:5], (273, 4, 0x3FFFFFFF, 8), *page(64, 64)[6:]], tail=bytes(300)), "damaged|announce"),
        "cycle.tif": (tiff(page(4, 4, strip=130), 8, bytes(300)), "damaged"),
        "nan-step.nrrd": (nrrd("sizes: 4 4 4\nencoding: raw\nspacings: 1 nan 1", bytes(64)), "finite"),
        "zero-step.nrrd": (nrrd("sizes: 4 4 4\nencoding: raw\nspacings: 1 0 1", bytes(64)), "zero"),
        "zero-step.mha": (good["mha"].replace(b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1"), "zero"),
        "nan-step.nii": (patch(nii, (80, "<f", float("nan"))), "NaN"),
        "pickle.npy": (npy("(3,)", "'|O'", b"cos\nsystem\n(S'touch pwned'\ntR."), "numbers"),
    }  # fmt: skip
    for word, value in (("nan", np.nan), ("inf", np.inf)):
        header = good["npy"][:0]
        path = npy("(4, 5, 6)", "'<f4'", np.full(120, value, "<f4").tobytes())
        found[f"all-{word}.npy"] = (header + path, "has no finite value")
    return {unique(name): entry for name, entry in found.items()}


OTHERS = {
    "gap": "apart", "cut": r"\(7fe0,0010\) announces 336 bytes, 296 are left", "nothing": "no DICOM", "text": "no DICOM", "pipe": "pipe", "pipes": "pipe", "pipe-voxels": "pipe",
    "pipe-raw": "pipe", "pipe-ascii": "pipe",
}  # fmt: skip


class Zoo:
    """The folder, and what came of a first run, of the plan after it, and of a second run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.good = good_files(folder / "good")
        self.bad = bad_files(self.good)
        self._fill()
        self.before = snapshot(self.data)
        self.first = curate(folder, "run", save(folder, SPEC), preexec_fn=little_memory)
        self.lines = quarantined(folder / "out")
        self.tree = tree(folder / "out")
        self.plan = curate(folder, "plan", "-v", "spec.json")
        self.second = curate(folder, "run", "-v", "spec.json")

    def _fill(self) -> None:
        data, series = self.data, self.data / "series"
        data.mkdir()
        for suffix, content in self.good.items():
            (data / unique(f"good.{suffix}")).write_bytes(content)
        for name, (content, _) in self.bad.items():
            (data / name).write_bytes(content)
        for name in ("good-series", "gap", "cut", "pipes"):
            write_series(series / name)
        (series / "gap" / "2.dcm").unlink()
        (series / "cut" / "1.dcm").write_bytes((series / "cut" / "1.dcm").read_bytes()[:-40])
        (series / "nothing").mkdir()
        (series / "text").mkdir()
        (series / "text" / "a.dcm").write_text("not DICOM")
        os.mkfifo(series / "pipes" / "x.dcm")
        os.mkfifo(data / "pipe.npy")
        os.mkfifo(data / "pipe-voxels.raw")
        for encoding in ("raw", "ascii"):
            (data / f"pipe-{encoding}.nrrd").write_bytes(nrrd(f"sizes: 4 4 4\nencoding: {encoding}\ndata file: pipe-voxels.raw"))

    @property
    def wanted(self) -> dict[str, str]:
        """Bad case -> words of its reason."""
        return {case_of(name): words for name, (_, words) in self.bad.items()} | OTHERS

    def mend(self) -> None:
        """A good file in the place of each bad one; what cannot be mended goes."""
        for name in self.bad:
            suffix = "npy" if name.endswith(".npy") else name.partition(".")[2]
            (self.data / name).write_bytes(self.good[suffix])
        for name in ("gap", "cut", "nothing", "text", "pipes"):
            shutil.rmtree(self.data / "series" / name)
            write_series(self.data / "series" / name)
        for path in self.data.glob("pipe*"):
            path.unlink()


def little_memory() -> None:
    """An allocation on the word of a false header fails at once, instead of taking what the machine has."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))


def case_of(name: str) -> str:
    """The case of a file: its name without the ending, which may be double."""
    return re.sub(r"\.((nii|mrc)\.)?[^.]+$", "", name)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("zoo"))


def test_every_bad_file_is_set_aside_and_every_good_one_is_used(zoo: Zoo) -> None:
    assert zoo.first.returncode == 1, zoo.first.stderr
    assert set(zoo.lines) == set(zoo.wanted)
    manifest = [json.loads(line)["case"] for line in (zoo.folder / "out" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(manifest) == sorted([*(case_of(unique(f"good.{suffix}")) for suffix in zoo.good), "good-series"])
    assert curate_core.open(zoo.folder / "out").verify() == []


def test_the_reason_names_the_file_the_step_and_what_is_wrong(zoo: Zoo) -> None:
    wrong = []
    for case, words in zoo.wanted.items():
        line = zoo.lines[case]
        step = "to-uint8" if case.startswith("all-") else "read"
        named = Path(line["files"][0]).name if step == "read" else case
        right = line["step"] == step and re.search(words, line["reason"])
        right = right and (named in line["reason"] or "pipe-voxels.raw" in line["reason"] or case == "cut3-mha")
        right = right and all(Path(file).parent in (zoo.data, zoo.data / "series") for file in line["files"])
        right = right and "bug in" not in line["reason"] and "reading failed with" not in line["reason"]
        if not right:
            wrong.append((line["step"], words, line["reason"]))
    assert not wrong


def test_the_reason_says_what_to_do(zoo: Zoo) -> None:
    """In brackets at the end; where what is in a file says it all, nothing need be said."""
    silent = {case for case in zoo.wanted if not zoo.lines[case]["reason"].endswith(")")}
    assert silent <= {"cut3-mha", "all-nan-npy", "all-inf-npy", "zero-tif", "nothing", "text"}


def test_nothing_but_words_on_stderr(zoo: Zoo) -> None:
    for run in (zoo.first, zoo.plan, zoo.second):
        assert "Traceback" not in run.stderr + run.stdout
    counted = f"{len(zoo.wanted)} cases in quarantine"
    assert counted in zoo.first.stdout
    assert "quarantine.jsonl; running again tries only those" in zoo.first.stdout


def test_sources_are_as_they_were(zoo: Zoo) -> None:
    assert snapshot(zoo.data) == zoo.before


def test_running_again_tries_only_the_bad_ones(zoo: Zoo) -> None:
    assert zoo.plan.returncode == 0
    planned = re.findall(r"^(\S+): finding ROIs: not done yet$", zoo.plan.stdout, re.MULTILINE)
    hashed = {case for case in zoo.wanted if "pipe" not in case}  # the plan cannot say of the others what they hold
    assert hashed <= set(planned) <= set(zoo.wanted)
    assert zoo.second.returncode == 1
    tried = set(re.findall(r"^[\w ]+: (\S+): (?:failed|done|lost)", zoo.second.stderr, re.MULTILINE))
    assert tried == set(zoo.wanted)
    assert tree(zoo.folder / "out") == zoo.tree


def test_memory_stays_small_and_workers_change_nothing(zoo: Zoo) -> None:
    command = [sys.executable, "-m", "curate_core", "run", "-q", "spec.json", "--workers", "0", "--output", "out0"]
    used = measured(command, zoo.folder, {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert used.exit_code == 1, used.said
    assert used.peak < MEMORY
    assert tree(zoo.folder / "out0") == zoo.tree


def test_once_mended_nothing_shows_of_it(zoo: Zoo) -> None:
    """The last test of the folder: it changes it."""
    zoo.mend()
    run = curate(zoo.folder, "run", "spec.json")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (zoo.folder / "out" / "quarantine.jsonl").read_text(encoding="utf-8") == ""
    fresh = curate(zoo.folder, "run", "spec.json", "--output", "fresh")
    assert fresh.returncode == 0
    assert tree(zoo.folder / "out") == tree(zoo.folder / "fresh")


# What happens to files while a run is at work, and on_error.


class Few:
    """Three volumes and a spec that works in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.out = folder, folder / "data", folder / "out"
        self.data.mkdir()
        for number, case in enumerate("abc"):
            np.save(self.data / f"{case}.npy", VOXELS + np.uint8(number))
        self.spec = {
            **{key: SPEC[key] for key in ("version", "name", "rois", "output")},
            "source": {"use": "files", "root": "data", "pattern": "{case}.npy"},
            "write": [{"use": "npy", "path": "{case}.npy"}],
            "engine": {"use": "local", "workers": 0},
        }

    def run(self, *listeners: object, **spec: Any) -> Any:
        return curate_core.run({**self.spec, **spec}, folder=self.folder, listeners=listeners)

    def others(self, case: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.out.glob("?.npy")) if path.stem != case}


@pytest.fixture
def few(tmp_path: Path) -> Few:
    return Few(tmp_path)


class AtRound:
    """Does something once, when a round begins: sources have been hashed, and not been read."""

    def __init__(self, do: Callable[[], object], title: str = "finding ROIs") -> None:
        self.do, self.title, self.done = do, title, False

    @hookimpl
    def curate_round_started(self, title: str, total_units: int) -> None:
        if title.startswith(self.title) and not self.done:
            self.done = True
            self.do()


def test_a_file_that_vanishes_during_the_run_costs_its_case(few: Few) -> None:
    listener = AtRound((few.data / "b.npy").unlink)
    summary = few.run(listener)
    assert listener.done
    assert (summary.exit_code, summary.cases, summary.quarantined_cases) == (1, 2, 1)
    (line,) = quarantined(few.out).values()
    assert line["case"] == "b"
    assert "No such file" in line["reason"]
    assert set(few.others("b")) == {"a.npy", "c.npy"}


def replaced(few: Few) -> None:
    np.save(few.data / "new.tmp.npy", VOXELS[::-1])
    (few.data / "new.tmp.npy").replace(few.data / "b.npy")


def grown(few: Few) -> None:
    with (few.data / "b.npy").open("ab") as file:
        file.write(bytes(1000))


@pytest.mark.parametrize("change", [replaced, grown])
def test_a_file_that_changes_during_the_run_costs_its_case(few: Few, change: Callable[[Few], None]) -> None:
    original = (few.data / "b.npy").read_bytes()
    listener = AtRound(lambda: change(few))
    summary = few.run(listener)
    assert listener.done
    assert (summary.exit_code, summary.cases, summary.quarantined_cases) == (1, 2, 1)
    (line,) = quarantined(few.out).values()
    assert (line["case"], line["step"]) == ("b", "read")
    assert re.search(r"b\.npy: it changed while the run was at work \(run again when it is complete\)$", line["reason"])
    (few.data / "b.npy").write_bytes(original)  # what was made of the other content must not come back under the old one's name
    assert few.run().exit_code == 0
    assert np.array_equal(np.load(few.out / "b.npy"), np.load(few.data / "b.npy"))
    assert curate_core.open(few.out).verify() == []


def test_a_folder_in_the_place_of_a_file_and_devices(few: Few) -> None:
    (few.data / "folder.npy").mkdir()
    (few.data / "zeros.npy").symlink_to("/dev/zero")
    os.mkfifo(few.data / "pipe.npy")
    cases = [{"case": name, "layers": {"image": {"files": f"{name}.npy"}}} for name in ("a", "b", "c", "folder", "zeros", "pipe")]
    summary = few.run(source={"use": "list", "root": "data", "cases": cases})
    assert (summary.exit_code, summary.cases) == (1, 3)
    reasons = {case: line["reason"] for case, line in quarantined(few.out).items()}
    assert "no installed reader takes folders such as this" in reasons.pop("folder")
    assert set(reasons) == {"zeros", "pipe"}
    for case, reason in reasons.items():
        assert reason == (
            f"{few.data / case}.npy: it is a pipe, a socket or a device, expected a file or a folder (copy what comes out of it into a file)"
        )


def drop_rights() -> None:
    """Root without the right to read what it may not."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities as Linux has them")
def test_a_file_that_may_not_be_read(few: Few) -> None:
    spec = save(few.folder, few.spec)
    (few.data / "b.npy").chmod(0)
    if subprocess.run(["cat", few.data / "b.npy"], capture_output=True, preexec_fn=drop_rights, check=False).returncode == 0:
        pytest.skip("here every process may read every file")
    run = curate(few.folder, "run", spec, preexec_fn=drop_rights)
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    (line,) = quarantined(few.out).values()
    assert line["case"] == "b"
    assert "Permission denied" in line["reason"]
    (few.data / "b.npy").chmod(0o644)
    assert curate(few.folder, "run", spec, preexec_fn=drop_rights).returncode == 0
    assert curate(few.folder, "run", spec, "--output", "fresh", preexec_fn=drop_rights).returncode == 0
    assert tree(few.out) == tree(few.folder / "fresh")


@pytest.mark.parametrize("workers", [0, 1])
def test_on_error_stop_stops(few: Few, workers: int) -> None:
    (few.data / "b.npy").write_bytes(b"")
    run = curate(few.folder, "run", save(few.folder, {**few.spec, "on_error": "stop"}), "--workers", str(workers))
    assert run.returncode == 3
    assert "Traceback" not in run.stderr
    assert "stopped at the first failure, as on_error asks: " in run.stderr
    assert "b.npy: the file is empty" in run.stderr
    assert "hint: mend it, or set on_error to quarantine, and run again: it continues" in run.stderr
    assert not (few.out / "dataset.json").exists()


def test_a_case_too_large_for_the_budget_costs_only_itself(few: Few) -> None:
    sitk = pytest.importorskip("SimpleITK")
    pytest.importorskip("curate_itk")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((300, 1000, 1000), "u1")), str(few.data / "big.nii.gz"), useCompression=True)
    how = {
        "source": {"use": "files", "root": "data", "pattern": "{case}.{ext}"},
        "engine": {"use": "local", "workers": 0, "memory": "250 MB"},
    }
    for _ in range(2):  # the second run tries it again, and says so again
        assert few.run(**how).exit_code == 1
        (line,) = quarantined(few.out).values()
        assert line["case"] == "big"
        assert re.search(r"big needs about 0\.\d+ GB, the engine's memory is 0\.25 GB \(raise it, or", line["reason"])
        assert set(few.others("big")) == {"a.npy", "b.npy", "c.npy"}
    assert few.run(**{**how, "engine": {"use": "local", "workers": 0, "memory": "2 GB"}}).exit_code == 0
