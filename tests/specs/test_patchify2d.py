"""specs/em/patchify2d.json against the rule of patchify2d, tile by tile."""

import json
from pathlib import Path

import imagehash
import numpy as np
import skimage
import tifffile
from PIL import Image

import curate_core
from curate_core.runner import run

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs/em/patchify2d.json"
PICTURES = Path(skimage.__file__).parent / "data"
SIZE = 224


def groups(folder: Path) -> dict[str, np.ndarray]:
    """Two groups; sizes of which each remainder occurs: none, under half, over half, exactly half, less than a patch."""
    camera = np.asarray(Image.open(PICTURES / "camera.png"))
    truth = {
        "mouse/a.png": camera,  # 512 = 2 * 224 + 64
        "mouse/b.tif": camera[:448, :336],  # exactly two, and one and a half
        "mouse/b.png": camera[:300, :500],  # shares its name with b.tif
        "mouse/c10.bmp": camera[:100, :460],
        "mouse/c9.bmp": camera[5:105, :225],
        "fly/a.jpg": np.asarray(Image.open(PICTURES / "rocket.jpg"))[..., 0],
    }
    for name, values in truth.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("jpg"):
            (folder / name).write_bytes((PICTURES / "rocket.jpg").read_bytes())
        elif name.endswith("tif"):
            tifffile.imwrite(folder / name, values)
        else:
            Image.fromarray(values).save(folder / name)
    return truth


NUMBERS = {"mouse/a.png": 0, "mouse/b.png": 1, "mouse/b.tif": 2, "mouse/c9.bmp": 3, "mouse/c10.bmp": 4, "fly/a.jpg": 0}


def edges(length: int) -> list[tuple[int, int]]:
    return [(i * SIZE, min(i * SIZE + SIZE, length)) for i in range(max(1, round(length / SIZE)))]


def expected(truth: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    tiles = {}
    for name, image in truth.items():
        for y0, y1 in edges(image.shape[0]):
            for x0, x1 in edges(image.shape[1]):
                tiles[f"{name.split('/')[0]}/{NUMBERS[name]}-LOC-2d-{y0}-{y1}_{x0}-{x1}.tiff"] = image[y0:y1, x0:x1]
    return tiles


def test_the_tiles_and_names_are_those_of_the_rule(tmp_path):
    truth = groups(tmp_path / "images")
    assert run(SPEC, settings=[f"source.root={tmp_path / 'images'}"], output=tmp_path / "out", workers=0).exit_code == 0
    dataset = curate_core.open(tmp_path / "out")
    tiles = expected(truth)
    found = {row["arrays"]["image"]["file"]: row for row in dataset.rows()}
    assert set(found) == set(tiles)
    for file, row in found.items():
        np.testing.assert_array_equal(tifffile.imread(dataset.path / file), tiles[file], err_msg=file)
        name = row["sources"]["image"][0]
        assert row["attributes"]["group"], row["attributes"]["file"] == name.split("/")
        assert file.startswith(f"{name.split('/')[0]}/{NUMBERS[name]}-LOC-2d-")


def test_full_patches_by_drop_shift_or_padding(tmp_path):
    groups(tmp_path / "images")
    common = [f"source.root={tmp_path / 'images'}"]
    for edge, more in (("drop", []), ("shift", []), ("short", ['transform=[{"use": "pad", "size": 224, "place": "end"}]'])):
        run(SPEC, settings=[*common, f"rois.0.edge={edge}", *more], output=tmp_path / edge, workers=0)
        shapes = {tuple(row["arrays"]["image"]["shape"]) for row in curate_core.open(tmp_path / edge).rows()}
        assert shapes == {(SIZE, SIZE)}


def test_near_duplicates_of_a_group_on_request(tmp_path):
    truth = groups(tmp_path / "images")
    wanted = json.dumps([{"use": "near-duplicates", "size": SIZE, "within": {"attribute": "group"}}])
    run(SPEC, settings=[f"source.root={tmp_path / 'images'}", f"filter={wanted}"], output=tmp_path / "out", workers=0)
    dataset = curate_core.open(tmp_path / "out")
    tiles = expected(truth)
    kept = [row["arrays"]["image"]["file"] for row in dataset.rows()]
    assert 0 < len(kept) < len(tiles)

    def bits(file: str) -> np.ndarray:
        return imagehash.dhash(Image.fromarray(tiles[file]).resize((SIZE, SIZE), Image.Resampling.BILINEAR)).hash.ravel()

    mouse = np.array([bits(file) for file in kept if file.startswith("mouse/")])
    distances = (mouse[:, None] != mouse[None]).sum(axis=2)
    assert distances[~np.eye(len(mouse), dtype=bool)].min() > 12
