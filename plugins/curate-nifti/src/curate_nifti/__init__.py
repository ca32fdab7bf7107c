"""NIfTI volumes for curate."""
