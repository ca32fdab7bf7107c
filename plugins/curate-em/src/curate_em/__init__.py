"""Electron microscopy for curate."""
