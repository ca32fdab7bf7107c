"""The workflow of CEM500K from end to end, command by command as the README of curate-em shows it."""

import json
import re
import runpy
import shlex
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import skimage.data
import skimage.io
import tifffile

import curate_core
from curate_core.cli.main import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "plugins/curate-em/README.md").read_text(encoding="utf-8")
film = runpy.run_path(str(Path(__file__).parent / "test_video.py"))["film"]


def shown_commands() -> list[list[str]]:
    """The commands of the README's section on the whole workflow, each as words."""
    section = README.partition("## The whole workflow\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    """Real photographs and textures that scikit-image carries, a film, an MRC volume and a stack of slices; specs where they lie."""
    folder = tmp_path_factory.mktemp("laboratory")
    shutil.copytree(ROOT / "specs/em", folder / "specs/em")
    for name, image in {"cells/one": skimage.data.camera(), "cells/two": skimage.data.page(), "skin/three": skimage.data.coins()}.items():
        path = folder / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        skimage.io.imsave(path, image, check_contrast=False)
    tifffile.imwrite(folder / "images/skin/four.tif", (skimage.data.brick().astype(np.uint16) * 200))
    (folder / "videos").mkdir()
    film(folder / "videos/tilt.mp4", "libx264", 30, 240, 448)
    grain = np.pad(np.kron(np.random.default_rng(0).integers(0, 255, (30, 30, 30)), np.ones((8, 8, 8))), 4, mode="edge")
    (folder / "tomograms").mkdir()
    with mrcfile.new(folder / "tomograms/grain.mrc") as file:
        file.set_data((grain[:40] * 100).astype(np.int16))
        file.voxel_size = (40, 40, 40)
    (folder / "volumes").mkdir()
    tifffile.imwrite(folder / "volumes/texture.tif", np.stack([np.roll(skimage.data.brick()[:240, :240], i, 0) for i in range(6)]))
    return folder


@pytest.mark.slow
def test_the_readme_is_followed_to_the_end(laboratory, monkeypatch, capsys):
    monkeypatch.chdir(laboratory)
    originals = {path: path.read_bytes() for path in sorted((laboratory / "images").rglob("*.*"))}
    commands = shown_commands()
    assert {Path(words[2]).name for words in commands if words[1] == "run"} == {
        "cleanup2d.json", "patchify2d.json", "video.json", "mrc2byte.json", "patchify3d.json", "classify_patches.json", "reconstruct3d.json",
    }  # fmt: skip
    classified = prepare_weights(laboratory)
    for words in commands:
        if words[0] == "cp":
            for path in laboratory.glob(words[1]):
                shutil.copy(path, laboratory / words[2])
        elif "classify_patches.json" in words[2] and not classified:
            replace_classifier(laboratory)
        else:
            code = main(words[1:])
            assert code == 0, (words, capsys.readouterr())
        capsys.readouterr()
    cleaned = {path.relative_to(laboratory / "images").as_posix() for path in (laboratory / "images").rglob("*.tiff")}
    assert cleaned == {"cells/one.tiff", "cells/two.tiff", "skin/three.tiff", "skin/four.tiff"}
    kept = [path.read_bytes() for path in sorted(laboratory.rglob("*")) if path.suffix in (".png", ".tif") and path.is_file()]
    assert all(content in kept for content in originals.values()), "the originals are kept"
    for name in ("patchify2d", "patchify3d", "classified", "flipbooks"):
        dataset = curate_core.open(laboratory / "out" / name)
        assert len(dataset) > 0, name
        assert dataset.verify() == []
    patches = [row["id"] for row in curate_core.open(laboratory / "out/patchify3d").rows()]
    assert {row.partition(":")[0] for row in patches} == {"grain", "texture", "tilt_video"}
    books = curate_core.open(laboratory / "out/flipbooks")
    assert all(sample["image"].shape[0] == 5 for sample in books)
    groups = {json.loads(line)["case"] for line in (laboratory / "out/flipbooks/manifest.jsonl").read_text().splitlines()}
    assert groups == {"grain", "texture", "tilt_video"}


def prepare_weights(folder: Path) -> bool:
    """An untrained network in the place of the published one, where PyTorch is installed."""
    try:
        import torch
        from curate_classify.resnet import ResNet34
    except ImportError:
        return False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.save(ResNet34().state_dict(), folder / "weights.pth")
    return True


def replace_classifier(folder: Path) -> None:
    """What the filter would do if it kept all: the same samples, under the same names."""
    spec = json.loads((folder / "specs/em/classify_patches.json").read_text())
    del spec["filter"], spec["$schema"]
    paths = [str(folder / "out/patchify2d"), str(folder / "out/patchify3d")]
    spec["source"]["path"], spec["output"] = paths, str(folder / "out/classified")
    curate_core.run(spec, folder=folder, workers=0)
