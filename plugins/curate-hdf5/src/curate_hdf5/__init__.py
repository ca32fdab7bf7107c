"""HDF5 files for curate."""
