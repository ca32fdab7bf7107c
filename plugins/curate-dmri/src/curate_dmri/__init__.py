"""Diffusion MRI for curate: tractograms, and the HDF5 files that dwi_ml reads."""
