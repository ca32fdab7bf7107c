"""The whole path: a volume on disk becomes named patches without near-duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from curate_core.testing import run_spec


def volume(depth: int, seed: int) -> Any:
    """Smooth, so that neighbouring slices look alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (depth // 8 + 2, 6, 7)).astype(float)
    planes = np.stack([coarse[i // 8] * (1 - i % 8 / 8) + coarse[i // 8 + 1] * (i % 8 / 8) for i in range(depth)])
    return np.kron(planes, np.ones((1, 12, 12))).astype(np.uint8)


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "seed": 3,
        "source": {"use": "files", "pattern": "volumes/{case}.npy"},
        "rois": [{"use": "em-sections", "size": 32}],
        "filter": [{"use": "near-duplicates", "distance": 12, "size": 32, "within": "case"}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "volumes").mkdir()
    for name, depth in (("liver", 40), ("brain", 17)):
        np.save(tmp_path / "volumes" / f"{name}.npy", volume(depth, depth))
    return tmp_path


def hashed(tile: Any) -> Any:
    return imagehash.dhash(Image.fromarray(tile).resize((32, 32), Image.Resampling.BILINEAR))


def test_patchify3d(folder: Path) -> None:
    run_spec(spec(), folder)
    for name in ("liver", "brain"):
        voxels = np.load(folder / "volumes" / f"{name}.npy")
        files = sorted((folder / "out" / name).iterdir())
        assert 1 < len(files) < sum(voxels.shape) * 4
        tiles = [np.load(file) for file in files]
        for file, tile in zip(files, tiles, strict=True):
            dataset, axis, index, rows, columns = file.stem.replace("-LOC-", "_").split("_")
            cut = np.moveaxis(voxels, int(axis), 0)[int(index)]
            (a, b), (c, d) = (map(int, edge.split("-")) for edge in (rows, columns))
            np.testing.assert_array_equal(tile, cut[a:b, c:d])
            assert dataset == name
        hashes = [hashed(tile) for tile in tiles]
        assert all(a - b > 12 for i, a in enumerate(hashes) for b in hashes[:i])


def test_kept_set_is_the_same_with_workers(folder: Path) -> None:
    names = []
    for workers in (0, 2):
        output = f"out{workers}"
        run_spec(spec(output=output, engine={"use": "local", "workers": workers}), folder)
        names.append(sorted(path.relative_to(folder / output).as_posix() for path in (folder / output).rglob("*.npy")))
    assert names[0] == names[1]
    assert names[0]


def test_across_cases(folder: Path) -> None:
    """A volume that is there twice gives nothing the second time; the other half of each pair stays."""
    np.save(folder / "volumes" / "liver-again.npy", np.load(folder / "volumes" / "liver.npy"))
    within = run_spec(spec(output="within"), folder)
    across = run_spec(spec(output="across", filter=[{"use": "near-duplicates", "size": 32, "within": "dataset"}]), folder)
    assert len(across) < len(within)
    tiles = [np.load(path) for path in sorted((folder / "across").rglob("*-LOC-*.npy"))]
    hashes = [hashed(tile) for tile in tiles]
    assert all(a - b > 12 for i, a in enumerate(hashes) for b in hashes[:i])
