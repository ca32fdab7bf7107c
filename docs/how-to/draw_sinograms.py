"""Draws the pictures of simulated-sinograms.md from what the specs make.

python docs/how-to/draw_sinograms.py

Needs curate-tomo and Pillow; writes docs/how-to/pictures/sinograms-*.png, the same bytes each time with the same Pillow.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from curate_tomo.flatfields import FlatFields
from curate_tomo.flats import make_response

import curate_core
from curate_core.kinds import Context

HERE = Path(__file__).parent
SPECS = HERE.parents[1] / "specs" / "tomo"
SIZE, GAP, TITLE = 128, 8, 14
ROWS = {"simple": 57, "complex": 98}  # with stripes that are easily seen


def samples(mode: str) -> Mapping[str, Any]:
    """The arrays of one row of a smaller sample."""
    spec = json.loads((SPECS / f"{mode}.json").read_text())
    spec["read"]["clean"] |= {"size": SIZE, "objects": 100}
    spec["transform"][-1]["to"] = "float32"
    if mode == "simple":
        spec["transform"][0]["percentage"] = 3
    return curate_core.open(spec, folder=Path(tempfile.gettempdir()))[ROWS[mode]]


def draw(name: str, panels: Mapping[str, tuple[Any, float, float]]) -> None:
    """Panels beside each other, each with its title.

    Args:
        panels: title -> (rows, columns) values, and which of them are black and white.
    """
    from PIL import Image, ImageDraw

    height = max(values.shape[0] for values, _, _ in panels.values()) + TITLE
    width = sum(values.shape[1] + GAP for values, _, _ in panels.values()) - GAP
    sheet = Image.new("L", (width, height), 255)
    left = 0
    for title, (values, black, white) in panels.items():
        grey = np.clip((values - black) / (white - black) * 63, 0, 63).round() * 255 / 63  # 64 greys: noise packs badly
        sheet.paste(Image.fromarray(grey.astype(np.uint8)), (left, TITLE))
        ImageDraw.Draw(sheet).text((left, 0), title, fill=0)
        left += values.shape[1] + GAP
    path = HERE / "pictures" / f"sinograms-{name}.png"
    sheet.save(path, optimize=True)
    print(f"{path.name}: {sheet.width} x {sheet.height}, {path.stat().st_size // 1000} kB")  # noqa: T201


def main() -> None:
    """Draw all."""
    simple = samples("simple")
    low, top = float(simple["stripe"].min()), 0.7 * float(simple["clean"].max())
    draw("simple", {"clean": (simple["clean"], low, top), "stripe": (simple["stripe"], low, top), "mask": (simple["mask"], 0, 1)})
    complex_ = samples("complex")
    top = 0.7 * float(complex_["clean"].max())
    shown = {name: (complex_[name], 0, top) for name in ("clean", "shift02")}
    draw("complex", {**shown, "shift02 - clean": (complex_["shift02"] - complex_["clean"], -top / 20, top / 20)})
    step = FlatFields(layer="clean")
    found = make_response(Context("flat-fields", 0, "0").rng, SIZE, int(2**0.5 * SIZE), step.beam())
    noise = found.flat / found.gain - 1
    panels = {"flat field": (found.flat, 0, 1), "its noise": (noise, -0.01, 0.01), "miscalibrated": (found.defects.max(0), 0, 1)}
    draw("flat-field", panels)


if __name__ == "__main__":
    main()
