"""What curate-nifti offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1
_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """NIfTI at the usual priority, which is above that of readers for many formats (curate-itk has 40)."""
    yield Provider("reader", "nifti", "NIfTI-1 and NIfTI-2 volumes with exact affines.", "curate_nifti.reader:NiftiReader", _SUFFIXES)
