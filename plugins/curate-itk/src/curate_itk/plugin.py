"""What curate-itk offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """Volumes with spacing, origin and direction; below the usual priority, so that a reader made for one format goes first."""
    suffixes = (".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz", ".hdr")
    yield Provider("reader", "itk", "NRRD, MetaImage and NIfTI volumes with exact geometry.", "curate_itk.reader:ItkReader", suffixes, 40)
    yield Provider("reader", "dicom-series", "One DICOM series: a folder or its files.", "curate_itk.dicom:DicomReader", (".dcm", ".ima"))


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """Volumes with their place in space."""
    yield Provider("writer", "itk", "One NRRD, MetaImage or NIfTI file a sample array.", "curate_itk.writer:ItkWriter")
