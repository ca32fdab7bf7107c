"""MRC volumes and images for curate."""
