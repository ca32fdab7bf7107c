"""What components give for fixed inputs, recorded: a change of output must raise the component's version, or keys would lie.

After raising a version, copy the digest that the failure shows into ``golden.json``; nothing records by itself.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from curate_core.arrays import read
from curate_core.host import default_host
from curate_core.kinds import Features
from curate_core.structure import structure
from curate_core.testing import context, make_batch, make_case

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
COMPONENTS = [
    ("preprocessor", "to-uint8", {"range": "type"}),
    ("preprocessor", "to-uint8", {"range": "min-max"}),
    ("preprocessor", "to-uint8", {"range": "percentile"}),
    ("preprocessor", "pick-channel", {"channel": 1}),
    ("preprocessor", "pick-channel", {"channel": "luminance"}),
    ("preprocessor", "invert", {}),
    ("preprocessor", "crop", {"start": {"z": 1}, "stop": {"y": -2}}),
    ("preprocessor", "transpose", {"axes": "cxzy"}),
    ("roi_finder", "whole", {}),
    ("roi_finder", "grid", {"size": 4, "planes": ["xy", "xz", "yz"], "edge": "short"}),
    ("roi_finder", "grid", {"size": [2, 4, 4], "stride": 2, "edge": "shift"}),
    ("roi_finder", "random", {"size": 3, "count": 9}),
    ("transform", "pad", {"size": 12, "mode": "reflect"}),
    ("transform", "cast", {"dtype": "uint8", "lossy": True}),
    ("transform", "normalize", {"mode": "z-score"}),
    ("transform", "normalize", {"mode": "range", "over": "case"}),
    ("filter", "intensity", {"min_std": 18000.0, "min_range": 1.0}),
    ("filter", "limit", {"count": 3}),
]


def digest(*arrays: np.ndarray) -> str:
    parts = [f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes() for array in map(np.asarray, arrays)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def voxels(shape: tuple[int, ...]) -> np.ndarray:
    """The same values on every machine and with every numpy: a linear congruential generator."""
    state = np.arange(int(np.prod(shape)), dtype=np.uint64) * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    return (state >> np.uint64(48)).astype(np.uint16).reshape(shape)


def result(kind: str, use: str, options: dict) -> str:
    host = default_host()
    component = structure(options, host.load(host.find(kind, use)), Path())
    if kind in ("preprocessor", "roi_finder"):
        case = make_case(voxels((5, 9, 10, 3)), "zyxc")
        if kind == "roi_finder":
            table = component.find(case, context(use, case=case.id))
            return digest(*table.to_columns()[1].values())
        measured = component.merge([component.measure(case, context(use))]) if component.statistics_scope() is not None else None
        return digest(read(component.apply(case, context(use, statistics=measured)).image().array))
    batch = make_batch(voxels((8, 9, 10)))
    if kind == "filter":
        columns = component.score(batch, context(use))
        verdict = component.keep(Features(columns, np.zeros(len(batch), bool), str), context(use))
        return digest(*(columns[name] for name in sorted(columns)), verdict.keep)
    measured = component.merge([component.measure(batch, context(use))]) if component.statistics_scope() is not None else None
    return digest(component.apply(batch, context(use, statistics=measured)).array())


@pytest.mark.parametrize(("kind", "use", "options"), COMPONENTS, ids=lambda value: json.dumps(value) if isinstance(value, dict) else value)
def test_output_changes_only_with_the_version(kind, use, options):
    host = default_host()
    version = host.load(host.find(kind, use)).version
    name = f"{kind} {use} {json.dumps(options)} version {version}"
    assert GOLDEN.get(name) == result(kind, use, options), f"the output of {use} changed: raise its version, and record {name!r}"
