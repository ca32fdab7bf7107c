"""TIFF for curate: pages, stacks, ImageJ and OME metadata."""

__version__ = "0.1.0"
