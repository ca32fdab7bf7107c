"""From a case as its source found it to a case with its layers open and preprocessed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core.arrays import AddAxisArray, ConcatArray, NDArray, TransposeArray, read
from curate_core.digest import refuse_special
from curate_core.errors import CurateError, PluginError, SourceError, place_in
from curate_core.grid import Grid
from curate_core.host import Host, Offer
from curate_core.kinds import Context, Reader
from curate_core.model import CaseSource, Image, Layer, LayerSource, Tractogram
from curate_core.spec import Spec, Step
from curate_core.structure import Mistakes, structure

WELL_KNOWN = {
    ".nrrd": "curate-itk", ".nhdr": "curate-itk", ".mha": "curate-itk", ".mhd": "curate-itk", ".nii": "curate-nifti",
    ".nii.gz": "curate-nifti", ".b2nd": "curate-blosc2", ".dcm": "curate-itk", ".mrc": "curate-mrc", ".map": "curate-mrc",
    ".rec": "curate-mrc", ".tif": "curate-tiff", ".tiff": "curate-tiff",
    ".png": "curate-imageio", ".jpg": "curate-imageio", ".jpeg": "curate-imageio",
    ".trk": "curate-dmri", ".tck": "curate-dmri", ".trx": "curate-dmri",
    ".bmp": "curate-imageio", ".avi": "curate-imageio", ".mp4": "curate-imageio", ".mov": "curate-imageio", ".mkv": "curate-imageio",
    ".zarr": "curate-tensorstore", ".n5": "curate-tensorstore", ".precomputed": "curate-tensorstore",
}  # fmt: skip
"""Suffix -> the distribution that reads it, for the hint when none is installed."""


MEND = "the reader is to be mended, not the file"


@frozen
class Verdict:
    """Whether a reader takes a file: ``reason`` is empty when it does. ``unusable``: what to do where the reader is at fault, no file."""

    offer: Offer
    reason: str = ""
    unusable: str = ""


def judge_readers(host: Host, path: Path) -> list[Verdict]:
    """All readers that claim the path's suffix, first to ask first, each with why it does not take it.

    Raises:
        SourceError: it is neither a file nor a folder.
    """
    refuse_special(path)
    verdicts = []
    for offer in host.readers_for(path):
        unusable = ""
        try:
            reader: Reader = structure({}, host.load(offer), Path())
            said = reader.sniff(path)
            reason = said or ""
            if said is not None and not isinstance(said, str):
                reason, unusable = f"its sniff gave {said!r}, expected None where it takes a file, and the reason as text where not", MEND
        except PluginError as error:
            reason, unusable = str(error), "see curate plugins --check"
        except Mistakes as mistakes:
            reason = f"it needs options: {mistakes}"
        except OSError as error:
            reason = f"the file cannot be read: {error.strerror or error}"
        except Exception as error:
            reason = f"its sniff failed with {type(error).__name__}: {error}{place_in(offer.provider.target, error)}"
            unusable = MEND
        verdicts.append(Verdict(offer, reason, unusable))
    return verdicts


def distribution_for(path: Path) -> str:
    """The distribution that is known to read files of this ending; empty when none is."""
    return next((WELL_KNOWN[s] for s in sorted(WELL_KNOWN, key=len, reverse=True) if path.name.lower().endswith(s)), "")


def choose_reader(host: Host, path: Path) -> Offer:
    """The reader that ``auto`` takes for a file or folder.

    Raises:
        SourceError: none does; says why each that claims it does not.
    """
    verdicts = judge_readers(host, path)
    if verdicts and path.is_file() and path.stat().st_size == 0:
        message = "the file is empty"
        raise SourceError(message, where=str(path), hint="copy it again")
    for verdict in verdicts:
        if not verdict.reason:
            return verdict.offer
    if not verdicts:
        wanted = distribution_for(path)
        broken = [plugin.distribution for plugin in host.plugins if plugin.status == "broken"]
        hint = f"pip install {wanted}" if wanted else "see curate plugins, or name a reader under read"
        if broken and wanted in ("", *broken):
            hint = f"a broken plugin may, see curate plugins: {', '.join(broken)}"
        files = f"files that end in {path.suffix!r}" if path.suffix else "files without an ending"
        what = "folders such as this" if path.is_dir() else files
        message = f"no installed reader takes {what}"
        raise SourceError(message, where=str(path), hint=hint)
    reasons = "; ".join(f"{v.reason} ({v.offer.qualified})" for v in verdicts)
    message = f"no reader takes it: {reasons}"
    hint = verdicts[0].unusable if all(v.unusable for v in verdicts) else "the file is damaged, or not what its ending says"
    raise SourceError(message, where=str(path), hint=hint)


@frozen(eq=False)
class Opener:
    """Opens the layers of cases as a spec says.

    Attributes:
        context_of: step -> context for one case; the runner's, so that readers draw from the right generators.
    """

    spec: Spec
    host: Host
    context_of: Callable[[Step | None, CaseSource], Context]

    def layer(self, case: CaseSource, name: str) -> tuple[Layer, str]:
        """One layer, and the reader that opened it.

        Raises:
            SourceError: it cannot be read.
        """
        source = case.layers[name]
        step = self.spec.reader_for(name, case.attributes)
        with _reading(source):
            if step is None and not source.files:
                message = f"layer {name!r} has no files, so that its reader must be named under read"
                raise SourceError(message, where=f"case {case.id}")
            reader, label = self._reader(step, source, case)
            context = self.context_of(step, case)
            if len(source.files) > 1 and not reader.many:
                parts = [_layer(reader, attrs.evolve(source, files=(file,)), context) for file in source.files]
                layer: Layer = join(parts, source)
            else:
                layer = _layer(reader, source, context)
        if source.spacing is not None and isinstance(layer, Image):
            layer = with_spacing(layer, source)
        return layer, label

    def _reader(self, step: Step | None, source: LayerSource, case: CaseSource) -> tuple[Reader, str]:
        for file in source.files:
            refuse_special(file)
        if step is not None:
            assert step.offer is not None
            return step.component_for(case, source.options), step.offer.qualified
        offer = choose_reader(self.host, source.files[0])
        try:
            return structure(dict(source.options), self.host.load(offer), self.spec.folder), offer.qualified
        except Mistakes as mistakes:
            raise SourceError("; ".join(map(str, mistakes.problems())), where=source.describe()) from mistakes

    def companions(self, case: CaseSource) -> dict[Path, tuple[Path, ...]]:
        """File -> other files that it leads to, by the word of its reader; none where that cannot tell."""
        found: dict[Path, tuple[Path, ...]] = {}
        for name, source in case.layers.items():
            step = self.spec.reader_for(name, case.attributes)
            for file in source.files:
                try:
                    reader, _ = self._reader(step, attrs.evolve(source, files=(file,)), case)
                    found[file] = () if file.is_dir() else tuple(reader.companions(file))
                except MemoryError:
                    raise
                except Exception:
                    found[file] = ()  # opening the layer will say what is wrong
        return found

    def resident(self, case: CaseSource) -> int:
        """Estimate of the memory that the case's open layers hold.

        Raises:
            SourceError: a layer cannot be read.
        """
        total = 0
        for name, source in case.layers.items():
            step = self.spec.reader_for(name, case.attributes)
            if step is None and not source.files:
                continue
            with _reading(source):
                reader, _ = self._reader(step, source, case)
                total += reader.resident(source)
        return total


def _layer(reader: Reader, source: LayerSource, context: Context) -> Layer:
    """A reader's layer; its mistakes are told from damaged files.

    Raises:
        SourceError: what it gives is no layer, or it fails as no reader should.
    """
    own = type(reader).__module__
    try:
        layer: object = reader.open(source, context)
    except (CurateError, MemoryError, OSError):
        raise
    except Exception as error:
        message = f"reading failed with {type(error).__name__}: {error}{'' if own.startswith('curate_core.') else place_in(own, error)}"
        raise SourceError(message, where=source.describe()) from error
    if not isinstance(layer, Image | Tractogram):
        message = f"{type(reader).__name__}.open must give an Image or a Tractogram, not {type(layer).__name__}"
        raise SourceError(message, where=source.describe(), hint="a bug in the reader")
    return layer


@contextmanager
def _reading(source: LayerSource) -> Iterator[None]:
    """Whatever a reader raises is about the layer; that memory ended is about the machine."""
    try:
        yield
    except (CurateError, MemoryError):
        raise
    except Exception as error:
        message = f"reading failed with {type(error).__name__}: {error}"
        raise SourceError(message, where=source.describe()) from error


def with_spacing(image: Image, source: LayerSource) -> Image:
    """The layer with the voxel size that its source states, its directions kept.

    Raises:
        SourceError: it states another number of sizes than there are spatial axes, or one that is no size.
    """
    grid, spacing, unit = image.grid, source.spacing or (), source.unit
    if not all(math.isfinite(size) and size > 0 for size in (*spacing, *grid.spacing)):
        message = f"the source states the voxel size {list(spacing)} for {list(grid.spacing)}, expected finite numbers above zero"
        raise SourceError(message, where=source.describe())
    if len(spacing) != len(grid.spatial):
        message = f"{len(spacing)} spacings for the {len(grid.spatial)} spatial axes {grid.spatial_axes!r}"
        raise SourceError(message, where=source.describe())
    affine = grid.affine.copy()
    affine[:3, :-1] *= [new / old for new, old in zip(spacing, grid.spacing, strict=True)]
    return attrs.evolve(image, grid=attrs.evolve(grid, affine=affine, unit=unit or grid.unit, calibrated=True))


def join(parts: Sequence[Layer], source: LayerSource) -> Layer:
    """Several files as one layer: images along the channels or along an axis, tractograms one behind the other.

    Raises:
        SourceError: they do not fit together, or the source does not say how.
    """
    tractograms = [part for part in parts if isinstance(part, Tractogram)]
    if len(tractograms) == len(parts):
        return join_tractograms(tractograms, source)
    images = [part for part in parts if isinstance(part, Image)]
    if len(images) != len(parts):
        message = "images and tractograms cannot be joined"
        raise SourceError(message, where=source.describe())
    if not source.join:
        message = f"{len(parts)} files make one layer, but its source does not say how they are joined"
        raise SourceError(message, where=source.describe(), hint='"join": "channels", or the letter of an axis')
    axis = "c" if source.join == "channels" else source.join
    if axis == "c":
        images = [image if "c" in image.grid.axes else _with_channel(image) for image in images]
    first = images[0].grid
    if axis not in first.axes:
        message = f"layers with axes {first.axes!r} cannot be joined along {axis!r}"
        raise SourceError(message, where=source.describe())
    if axis == "c":
        for image, file in zip(images[1:], source.files[1:], strict=True):
            first.require_same(image.grid, 1e-3, f"joined files {source.files[0].name} and {file.name}")
    position = first.axes.index(axis)
    try:
        array = ConcatArray([image.array for image in images], position)
    except ValueError as error:
        raise SourceError(str(error), where=source.describe()) from error
    notes: Mapping[str, Any] = {**images[0].notes, "joined": [image.array.shape[position] for image in images]}
    return Image(array, attrs.evolve(first, shape=array.shape), notes)


def join_tractograms(parts: Sequence[Tractogram], source: LayerSource) -> Tractogram:
    """Tractograms on one grid, their streamlines one behind the other; data that one of them lacks is left out.

    Raises:
        SourceError: data of one name has different widths.
        StepError: they are about different grids.
    """
    first = parts[0]
    for part, file in zip(parts[1:], source.files[1:], strict=True):
        first.grid.require_same(part.grid, 1e-3, f"joined files {source.files[0].name} and {file.name}")
    starts = np.cumsum([0, *(part.points.shape[0] for part in parts[:-1])])
    notes: dict[str, Any] = {**first.notes, "joined": [len(part) for part in parts]}
    data: dict[str, dict[str, NDArray]] = {}
    for kind in ("per_streamline", "per_point"):
        columns = [getattr(part, kind) for part in parts]
        names = dict.fromkeys(name for column in columns for name in column)
        shared = [name for name in names if all(name in column for column in columns)]
        for name in shared:
            widths = sorted({tuple(column[name].shape[1:]) for column in columns})
            if len(widths) > 1:
                message = f"data {name!r} {kind.replace('_', ' ')} has different shapes in the files: {' and '.join(map(str, widths))}"
                raise SourceError(message, where=source.describe())
        data[kind] = {name: np.concatenate([read(column[name]) for column in columns]) for name in shared}
        if len(shared) < len(names):
            notes[f"{kind}_left_out"] = [name for name in names if name not in shared]
    return Tractogram(
        np.concatenate([read(part.points) for part in parts]),
        np.concatenate([part.offsets + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.lengths for part in parts]),
        first.grid,
        data["per_streamline"],
        data["per_point"],
        notes,
    )


def _with_channel(image: Image) -> Image:
    """Points in time become channels; a layer without them gets one channel."""
    if "t" in image.grid.axes:
        at = image.grid.axes.index("t")
        order = [*(i for i in range(len(image.grid.axes)) if i != at), at]
        moved = attrs.evolve(image.grid, axes=image.grid.axes.replace("t", "c")).transpose(order)
        return Image(TransposeArray(image.array, order), moved, image.notes)
    last = len(image.grid.shape)
    grid: Grid = image.grid.add("c", 1, last)
    return Image(AddAxisArray(image.array, last), grid, image.notes)
