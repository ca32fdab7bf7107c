"""What curate-imageio offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """Images as one sees them, and videos frame by frame."""
    images = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
    yield Provider("reader", "imageio", "PNG, JPEG, BMP, GIF and WebP images.", "curate_imageio.still:ImageReader", images)
    videos = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm")
    yield Provider("reader", "video", "AVI, MP4, MOV and MKV videos, decoded as a stream.", "curate_imageio.video:VideoReader", videos)


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """Patches that any program opens."""
    yield Provider("writer", "png", "One PNG file a sample array.", "curate_imageio.writer:PngWriter")
