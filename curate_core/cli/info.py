"""``curate info``: what a file or a dataset holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("path", metavar="PATH", type=Path, help="a file, a folder that a reader takes, or a dataset")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.errors import RequestError
    from curate_core.layout import DATASET, WORK

    path: Path = arguments.path
    if not path.exists():
        message = "there is no such file or folder"
        raise RequestError(message, where=str(path))
    if (path / DATASET).exists() or (path / WORK).exists():
        _dataset(path)
    else:
        _file(path)
    return 0


def _dataset(path: Path) -> None:
    from numpy import dtype

    from curate_core.cli.output import console, count, facts, plural, size
    from curate_core.dataset import Dataset

    dataset = Dataset(path)
    summary = dataset.summary
    values: dict[str, object] = {"dataset": summary["name"]}
    if summary["description"]:
        values["description"] = summary["description"]
    values["samples"] = f"{count(len(dataset))} in {plural(len(summary['cases']), 'case')}"
    if len(dataset):
        row = dataset.row(0)
        arrays = (f"{name}: {' x '.join(map(str, a['shape']))} {dtype(a['dtype'])}" for name, a in row["arrays"].items())
        values["arrays"] = f"{'; '.join(arrays)} (of the first sample)"
        values["attributes"] = ", ".join(row["attributes"]) or "none"
    dropped = ", ".join(f"{name} {count(number)}" for name, number in summary["dropped"].items())
    values["found"] = f"{count(summary['found'])}{f'; dropped by {dropped}' if dropped else ''}"
    bad = summary["quarantined"]
    values["quarantine"] = ", ".join(plural(bad[what], what[:-1]) for what in ("cases", "samples") if bad[what]) or "empty"
    values["files"] = f"{count(summary['files'])}, {size(summary['bytes'])}"
    values["written by"] = ", ".join(writer["use"] for writer in summary["writers"])
    console().print(facts(values))


def _file(path: Path) -> None:
    from rich.text import Text

    from curate_core.arrays import read, slabs
    from curate_core.cli.output import console, facts, visible
    from curate_core.deprecation import tell_offer
    from curate_core.host import default_host
    from curate_core.kinds import Context
    from curate_core.model import Image, LayerSource
    from curate_core.opening import choose_reader
    from curate_core.structure import structure

    host = default_host()
    offer = choose_reader(host, path)
    tell_offer(offer, "curate info")
    reader = structure({}, host.load(offer), path.parent)
    described = reader.describe(path.absolute())
    if described is not None:
        out, lines = console(), [line for value in described.values() if isinstance(value, list) for line in value]
        single = {name: value for name, value in described.items() if not isinstance(value, list)}
        out.print(facts({"file": path, "reader": offer.qualified, **single}))
        for line in lines:
            out.print(Text(visible(str(line))), soft_wrap=True)
        return
    layer = reader.open(LayerSource((path.absolute(),)), Context("info", 0))
    values: dict[str, object] = {"file": path, "reader": offer.qualified}
    if isinstance(layer, Image):
        where = next(iter(slabs(layer.array, 16 << 20)), None)
        values |= {"grid": layer.grid.describe(), "dtype": layer.dtype}
        if where is not None and layer.dtype.kind in "biuf":
            part = read(layer.array, where)
            whole = "" if part.shape == layer.grid.shape else f" (in the first {part.shape[0]} of {layer.grid.shape[0]})"
            values["values"] = f"{part.min():.6g} to {part.max():.6g}{whole}"
    else:
        values |= {"streamlines": len(layer.offsets), "points": len(layer.points), "grid": layer.grid.describe()}
    values |= {name: value for name, value in layer.notes.items() if value not in ("", None)}
    console().print(facts(values))
