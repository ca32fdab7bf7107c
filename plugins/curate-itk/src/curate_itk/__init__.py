"""NRRD, MetaImage, NIfTI and DICOM series for curate."""

__version__ = "0.1.0"
