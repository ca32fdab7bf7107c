"""Chunked volumes for curate."""
