"""Draws the picture of stripe-mask.md: a sinogram with planted stripes, where they are, and what two detectors find.

python docs/how-to/draw_stripe_mask.py

Needs curate-tomo and Pillow; writes docs/how-to/pictures/sinograms-stripe-mask.png.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from curate_tomo.maskfit import mask_of, plant
from curate_tomo.masking import Filtering, Gradients

HERE = Path(__file__).parent
draw, samples = (runpy.run_path(str(HERE / "draw_sinograms.py"))[name] for name in ("draw", "samples"))


def main() -> None:
    """Draw it."""
    clean = samples("complex")["clean"].astype(np.float32)
    rows = np.repeat(clean[:, None], 5, axis=1)  # detectors look at rows beside as well
    striped, truth = plant(rows[:, 2:3], np.random.default_rng(4), 8, strength=0.4 * float(np.ptp(clean)) / 2)
    scan = np.concatenate([rows[:, :2], striped, rows[:, 3:]], axis=1)
    found = {"gradients": mask_of(scan, Gradients(size=28, length=67)), "filtering": mask_of(scan, Filtering())}
    black, white = np.percentile(scan, [1, 99])
    panels = {"with stripes": (scan[:, 2], black, white), "planted": (truth[:, 0], 0, 1)}
    draw("stripe-mask", panels | {name: (mask[:, 2], 0, 1) for name, mask in found.items()})


if __name__ == "__main__":
    main()
