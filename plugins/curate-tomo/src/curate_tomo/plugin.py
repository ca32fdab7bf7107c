"""What curate-tomo offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_sources() -> Iterator[Provider]:
    """Samples that are simulated, and scans."""
    yield Provider("source", "simulate", "Simulated samples: numbered cases without files.", "curate_tomo.simulate:SimulateSource")
    yield Provider("source", "numbered-scans", "Scans of samples at vertical shifts, by number.", "curate_tomo.numbered:NumberedScans")


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """Layers that are computed."""
    yield Provider("reader", "sphere-foam", "A foam of spheres in a cube, packed at random.", "curate_tomo.foam:SphereFoam")
    yield Provider("reader", "phantom", "Analytic objects listed in a JSON file.", "curate_tomo.phantom:Phantom")


@hookimpl
def curate_register_preprocessors() -> Iterator[Provider]:
    """The scan of a sample."""
    yield Provider("preprocessor", "project", "Exact parallel-beam projections of analytic objects.", "curate_tomo.project:Project")
    yield Provider("preprocessor", "flat-fields", "Photon noise and stripes of simulated flat fields.", "curate_tomo.flatfields:FlatFields")
    yield Provider("preprocessor", "normalize-flats", "Divide by flat fields, take the logarithm.", "curate_tomo.normalize:NormalizeFlats")
    yield Provider("preprocessor", "stripe-mask", "Where a scan has stripes: a layer.", "curate_tomo.stripemask:StripeMask")


@hookimpl
def curate_register_roi_finders() -> Iterator[Provider]:
    """Views of a scan."""
    yield Provider("roi_finder", "sinograms", "One sample for each detector row, angle or column.", "curate_tomo.sinograms:SinogramRois")
    yield Provider("roi_finder", "sinogram-patches", "A grid of patches on each sinogram.", "curate_tomo.patches:SinogramPatches")
    yield Provider("roi_finder", "sinogram-frames", "Sinograms of the frames of a dynamic scan.", "curate_tomo.dynamic:SinogramFrames")


@hookimpl
def curate_register_transforms() -> Iterator[Provider]:
    """Stripes, sizes, and one scale for pairs."""
    yield Provider("transform", "add-stripes", "Stripes on clean sinograms, with their exact mask.", "curate_tomo.stripes:AddStripes")
    yield Provider("transform", "scale", "Floats to integers by one scale for all arrays.", "curate_tomo.scale:Scale")
    yield Provider("transform", "resize", "Resize 2D samples, anti-aliased.", "curate_tomo.resize:Resize")
    yield Provider("transform", "estimate-clean", "Masked pixels of sinograms, interpolated.", "curate_tomo.estimate:EstimateClean")


@hookimpl
def curate_register_importers() -> Iterator[Provider]:
    """Configurations of other systems."""
    yield Provider("importer", "nostripesnet", "The data generator of NoStripesNet.", "curate_tomo.nostripesnet:NoStripesNet")


@hookimpl
def curate_register_commands() -> Iterator[Provider]:
    """What takes long, and is done once."""
    yield Provider("command", "stripe-mask", "Find where a scan has stripes, for an archive.", "curate_tomo.maskcommand:MakeStripeMask")
