"""Blosc2 arrays for curate."""
