"""Images and videos for curate."""
