"""What curate-dmri offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_sources() -> Iterator[Provider]:
    """Subjects of a study."""
    yield Provider("source", "subjects", "Subjects of text lists, each a folder of the same files.", "curate_dmri.source:SubjectsSource")


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """Tractograms, and the groups of dwi_ml's HDF5 files, which are asked before HDF5 files in general."""
    suffixes = (".trk", ".tck", ".trx")
    yield Provider("reader", "tractogram", "Tractograms: .trk, .tck and .trx.", "curate_dmri.reader:TractogramReader", suffixes)
    summary = "A group of an HDF5 file in the layout of dwi_ml."
    yield Provider("reader", "dwi-ml-hdf5", summary, "curate_dmri.hdf5_reader:DwiMlReader", (".hdf5", ".h5"), 60)


@hookimpl
def curate_register_preprocessors() -> Iterator[Provider]:
    """Volumes and streamlines of whole subjects."""
    yield Provider("preprocessor", "standardize", "Zero mean and unit variance, within a mask.", "curate_dmri.standardize:Standardize")
    here = "curate_dmri.streamlines"
    yield Provider("preprocessor", "resample-streamlines", "Points at a step, or a number of them.", f"{here}:ResampleStreamlines")
    yield Provider("preprocessor", "compress-streamlines", "Fewer points within a tolerance.", f"{here}:CompressStreamlines")
    yield Provider("preprocessor", "remove-invalid-streamlines", "Drops streamlines that leave the volume.", f"{here}:RemoveInvalid")
    yield Provider(
        "preprocessor", "connectivity", "A connectivity matrix that belongs to streamlines.", "curate_dmri.connectivity:Connectivity"
    )


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """All subjects in one file."""
    yield Provider("writer", "dwi-ml-hdf5", "One HDF5 file of all subjects, as dwi_ml reads it.", "curate_dmri.writer:DwiMlHdf5Writer")


@hookimpl
def curate_register_importers() -> Iterator[Provider]:
    """Configurations of other systems."""
    yield Provider("importer", "dwi-ml", "The groups of dwi_ml's HDF5 creation, of both forms.", "curate_dmri.importer:DwiMl")
