"""What curate-hdf5 offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """Datasets of any HDF5 file, NeXus and HDF-EOS5 among them."""
    suffixes = (".h5", ".hdf5", ".hdf", ".nxs", ".he5")
    yield Provider("reader", "hdf5", "A dataset of an HDF5 or NeXus file, read lazily.", "curate_hdf5.reader:Hdf5Reader", suffixes)
    yield Provider("reader", "nexus", "Projections of a tomography scan: NeXus, DXchange.", "curate_hdf5.nexus:NexusReader")


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """Datasets in one file, in a file a case, or in stacks."""
    yield Provider("writer", "hdf5", "HDF5 files that h5py alone reads: all samples in one, or stacks.", "curate_hdf5.writer:Hdf5Writer")
