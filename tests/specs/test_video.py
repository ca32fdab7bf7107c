"""specs/em/video.json against an independent decode, and on to patchify3d."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import SimpleITK
from scipy.ndimage import gaussian_filter

import curate_core
from curate_core.runner import run

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs/em/video.json"


def film(path: Path, codec: str, count: int, height: int, width: int) -> None:
    still = gaussian_filter(np.random.default_rng(count).standard_normal((height, width + count, 3)), (3, 3, 0))
    still = ((still - still.min()) / np.ptp(still) * 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options={"g": "5"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for i in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(still[:, i : i + width]), "rgb24")))
        container.mux(stream.encode())


def first_channel(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24")[..., 0] for frame in container.decode(video=0)])


def videos(folder: Path) -> Path:
    folder.mkdir()
    film(folder / "tilt.mp4", "libx264", 12, 226, 240)
    film(folder / "odd.avi", "mpeg4", 7, 227, 231)  # a plugin that rounds sizes up to 16 would hide it
    return folder


def test_videos_become_stacks(tmp_path):
    folder = videos(tmp_path / "videos")
    assert run(SPEC, settings=[f"source.root={folder}"], output=tmp_path / "out", workers=0).exit_code == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nrrd")) == ["odd_video.nrrd", "tilt_video.nrrd"]
    for name in ("tilt.mp4", "odd.avi"):
        found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / f"{name[:-4]}_video.nrrd")))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, first_channel(folder / name))


def test_the_stacks_are_cut_along_xy_alone(tmp_path):
    """The word in the name does it: a video has no third dimension of space."""
    run(SPEC, settings=[f"source.root={videos(tmp_path / 'videos')}"], output=tmp_path / "stacks", workers=0)
    (tmp_path / "volumes").mkdir()
    for path in (tmp_path / "stacks").glob("*.nrrd"):
        path.rename(tmp_path / "volumes" / path.name)
    run(ROOT / "specs/em/patchify3d.json", settings=[f"source.root={tmp_path / 'volumes'}"], output=tmp_path / "out", workers=0)
    dataset = curate_core.open(tmp_path / "out")
    assert dataset.summary["found"] == 12 + 7
    assert {row["attributes"]["plane"] for row in dataset.rows()} == {"xy"}
    assert all("_video-LOC-0_" in row["arrays"]["image"]["file"] for row in dataset.rows())


def test_a_video_cut_short_costs_only_itself(tmp_path):
    folder = videos(tmp_path / "videos")
    content = (folder / "odd.avi").read_bytes()
    (folder / "odd.avi").write_bytes(content[: len(content) // 2])
    assert run(SPEC, settings=[f"source.root={folder}"], output=tmp_path / "out", workers=0).exit_code == 1
    dataset = curate_core.open(tmp_path / "out")
    assert [row["case"] for row in dataset.rows()] == ["tilt"]
    (line,) = dataset.quarantined()
    assert "frames of the video can be read" in line["reason"]
    run(SPEC, settings=[f"source.root={folder}", "read.*.truncated=keep"], output=tmp_path / "kept", workers=0)
    assert [row["case"] for row in curate_core.open(tmp_path / "kept").rows()] == ["odd", "tilt"]
