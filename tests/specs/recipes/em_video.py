"""Two films of a few frames."""

from fractions import Fraction

import av
import numpy as np


def recipe(folder):
    for name, count in (("one.mp4", 5), ("two.avi", 4)):
        frames = np.random.default_rng(count).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=Fraction(25))
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            container.mux(stream.encode())
    return [f"source.root={folder}"]
