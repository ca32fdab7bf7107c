"""X-ray tomography for curate."""
