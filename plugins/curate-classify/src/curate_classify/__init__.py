"""Learned filters for curate."""
