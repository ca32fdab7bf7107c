"""Alignment: pairs of sections from cloud volumes, and the fields between them."""
