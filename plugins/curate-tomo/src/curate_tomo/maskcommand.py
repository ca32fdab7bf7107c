"""``curate stripe-mask``: the long job, done once a scan, by several processes."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core import Case, Command, Context, Image, LayerSource, RequestError
from curate_core.host import default_host
from curate_core.options import info_of
from curate_core.structure import structure
from curate_tomo.maskarchive import Addition
from curate_tomo.masking import Detector, Filtering, Gradients
from curate_tomo.normalize import NormalizeFlats

METHODS: Mapping[str, type[Any]] = {"gradients": Gradients, "filtering": Filtering}
LEAST_ROWS = 64
"""Rows of a piece of work: what is computed again at its borders is a share of it."""


@frozen
class MakeStripeMask(Command):
    """Find where a scan has stripes, and add the mask to an archive.

    Example::

        curate stripe-mask --h5 1000.nxs --flats 998.nxs --archive stripe_masks.npz
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--h5", metavar="FILE", type=Path, required=True, help="the scan, NeXus or DXchange")
        parser.add_argument("--flats", metavar="FILE", type=Path, help="file of flat and dark fields, if the scan has none")
        parser.add_argument("-a", "--archive", metavar="FILE", type=Path, required=True, help="the .npz archive; made if it is not there")
        parser.add_argument("-f", "--file-name", metavar="NAME", help="name of the mask in the archive (m and the name of the scan)")
        parser.add_argument("--overwrite", action="store_true", help="replace a mask of that name")
        parser.add_argument("--method", choices=sorted(METHODS), default="gradients", help="the detector (gradients)")
        parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="a number of the detector: threshold=0.5")
        parser.add_argument("--processes", metavar="N", type=int, help="worker processes; 0: this one (one a core)")

    def run(self, arguments: argparse.Namespace) -> int:
        name = (arguments.file_name or f"m{arguments.h5.stem}").removesuffix(".npy")
        processes: int = (os.cpu_count() or 1) if arguments.processes is None else arguments.processes
        if processes < 0:
            message = f"{processes} processes do nothing"
            raise RequestError(message, where="--processes", hint="0 works in this process, 1 or more beside it")
        detector = _detector(arguments.method, arguments.set)
        addition = Addition(arguments.archive, name, arguments.overwrite)
        scan = open_scan(arguments.h5, arguments.flats)
        folder = arguments.archive.absolute().parent
        if not folder.is_dir():
            message = "there is no such folder"
            raise RequestError(message, where=str(folder), hint="make it, or choose another for --archive")
        angles, rows, columns = scan.array.shape
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder) as aside:
            path = Path(aside) / "mask.npy"
            mask = np.lib.format.open_memmap(path, "w+", bool, (angles, rows, columns))
            job = Job(arguments.h5, arguments.flats, detector, path)
            done = job.here(rows) if processes == 0 else job.beside(rows, processes)
            for _ in _shown(done, rows, quiet=arguments.quiet):
                pass
            share = np.count_nonzero(mask) / max(1, mask.size)
            addition.write(mask)
            mask._mmap.close()  # type: ignore[attr-defined]  # noqa: SLF001 - its folder goes
        if not arguments.quiet:
            print(f"{arguments.archive}: {name}, {angles} x {rows} x {columns}, {share:.2%} masked")  # noqa: T201
        return 0


def open_scan(file: Path, flats: Path | None) -> Image:
    """The scan as line integrals: a lazy layer, axes azx.

    Raises:
        RequestError: there is no such file.
        SourceError, StepError: it is no scan, or lacks fields.
    """
    for path in (file, flats):
        if path is not None and not path.is_file():
            message = "there is no such file"
            raise RequestError(message, where=str(path))
    host = default_host()
    reader = host.load(host.find("reader", "nexus"))(flats=None if flats is None else flats.absolute())
    image = reader.open(LayerSource(files=(file.absolute(),)), Context("read", 0))
    return NormalizeFlats().apply(Case(file.stem, {"scan": image}), Context("normalize-flats", 0)).image("scan")


@frozen
class Job:
    """A mask in the making: picklable.

    Attributes:
        scan, flats: the files.
        detector: finds it.
        mask: .npy file (angle, row, column), there already; each piece of work fills its rows.
    """

    scan: Path
    flats: Path | None
    detector: Detector
    mask: Path

    def rows(self, first: int, stop: int) -> Iterator[int]:
        """Fill some rows; gives 1 for each."""
        array = open_scan(self.scan, self.flats).array
        mask = np.lib.format.open_memmap(self.mask, "r+")
        for row, plane in enumerate(self.detector.rows(array, first, stop), first):
            mask[:, row] = plane
            yield 1

    def here(self, rows: int) -> Iterator[int]:
        """All in this process."""
        return self.rows(0, rows)

    def piece(self, first: int, stop: int) -> int:
        """Fill some rows; returns how many."""
        return sum(self.rows(first, stop))

    def beside(self, rows: int, processes: int) -> Iterator[int]:
        """All, by other processes; gives the number of rows of each piece that ends."""
        step = max(LEAST_ROWS, -(-rows // (8 * processes)))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            pieces: list[Future[int]] = [pool.submit(self.piece, first, min(rows, first + step)) for first in range(0, rows, step)]
            try:
                for piece in as_completed(pieces):
                    yield piece.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _detector(method: str, settings: list[str]) -> Detector:
    cls = METHODS[method]
    known = {field.name: field for field in attrs.fields(cls)}
    values: dict[str, Any] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if key not in known:
            message = f"the detector {method!r} has no number {key!r}"
            listed = "; ".join(f"{name}: {info_of(field).doc}" for name, field in known.items())
            raise RequestError(message, where="--set", hint=listed)
        try:
            values[key] = float(text) if "." in text or "e" in text else int(text)
        except ValueError as error:
            message = f"{key}: {text!r} is no number"
            raise RequestError(message, where="--set", hint="write threshold=0.5") from error
        if problem := info_of(known[key]).problem(values[key]):
            message = f"{key}: {problem}"
            raise RequestError(message, where="--set", hint=info_of(known[key]).doc)
    made: Detector = structure(values, cls, Path.cwd())
    return made


def _shown(done: Iterator[int], rows: int, *, quiet: bool) -> Iterator[int]:
    """Pass on, with a bar of rows and the time left on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        task = progress.add_task("rows", total=rows)
        for count in done:
            progress.advance(task, count)
            yield count
