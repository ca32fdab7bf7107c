"""PET/CT preparation for curate."""
