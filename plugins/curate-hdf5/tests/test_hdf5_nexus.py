"""Tomography scans: written by nxtomo (the ESRF's writer) and by h5py as Diamond and the APS lay them out."""

import tracemalloc
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from curate_hdf5.frames import Frames, ScanArray
from curate_hdf5.nexus import NexusReader

from curate_core import ByteSize, LayerSource, SourceError
from curate_core.arrays import read
from curate_core.testing import ReaderTests, context

ROWS, COLUMNS = 6, 9
KEY = np.array([2, 1, 1, 0, 0, 1, 0, 3, 0, 0, 2, 1])
"""Darks and flats before, between and after; one invalid frame."""
PROJECTIONS = [3, 4, 6, 8, 9]


def frames_of(count: int = len(KEY), seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 65536, (count, ROWS, COLUMNS), dtype=np.uint16)


def diamond(path: Path, frames: Any, key: Any, angles: Any = None, **storage: Any) -> Path:
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry1/tomo_entry")
        entry.create_dataset("data/data", data=frames, **storage)
        entry["data/rotation_angle"] = np.linspace(0, 180, len(frames)) if angles is None else angles
        entry["instrument/detector/image_key"] = key
    return path


def open_scan(path: Path, **options: Any) -> Any:
    return NexusReader(**options).open(LayerSource((path,)), context())


def assert_scan(image: Any, frames: Any, key: Any = KEY) -> None:
    assert image.grid.axes == "azx"
    np.testing.assert_array_equal(read(image.array), frames[key == 0])
    np.testing.assert_array_equal(read(image.array.flats), frames[key == 1])
    np.testing.assert_array_equal(read(image.array.darks), frames[key == 2])


class TestNexusReader(ReaderTests):
    component = NexusReader
    suffix = ".nxs"
    axes = "azx"
    dtypes = ("uint16", "float32", "int32", "uint8")
    keeps_spacing = False
    memory_mapped = False
    options: ClassVar[dict[str, Any]] = {"memory": 4000}

    def make_file(self, folder: Path, array: Any, spacing: Any) -> Path:
        return diamond(folder / "scan.nxs", array, np.zeros(len(array), int))


def test_what_nxtomo_writes(tmp_path: Path) -> None:
    import nxtomo
    import pint

    frames = frames_of()
    scan = nxtomo.NXtomo()
    scan.instrument.detector.data = frames
    scan.instrument.detector.image_key_control = KEY
    scan.sample.rotation_angle = np.linspace(0, 180, len(KEY)) * pint.get_application_registry().degree
    scan.save(str(tmp_path / "scan.nx"), data_path="entry0000")
    image = open_scan(tmp_path / "scan.nx")
    assert_scan(image, frames)
    assert image.notes["projections"] == 5
    assert image.notes["angles"] == pytest.approx([180 / 11 * 3, 180 / 11 * 9], abs=1e-5)


@pytest.mark.parametrize("storage", [{}, {"chunks": (1, ROWS, COLUMNS), "compression": "gzip"}, {"chunks": (5, 4, COLUMNS)}])
def test_flats_before_between_and_after(tmp_path: Path, storage: dict[str, Any]) -> None:
    frames = frames_of()
    image = open_scan(diamond(tmp_path / "a.nxs", frames, KEY, **storage))
    assert_scan(image, frames)
    assert (image.notes["flats"], image.notes["darks"]) == (4, 2)


@pytest.mark.parametrize("fields", [True, False])
def test_the_layout_of_dxchange(tmp_path: Path, fields: bool) -> None:
    frames = frames_of()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = frames[:7]
        file["exchange/theta"] = np.linspace(0, 180, 7)
        if fields:
            file["exchange/data_white"], file["exchange/data_dark"] = frames[7:10], frames[10:]
    image = open_scan(tmp_path / "a.h5")
    np.testing.assert_array_equal(read(image.array), frames[:7])
    if fields:
        np.testing.assert_array_equal(read(image.array.flats), frames[7:10])
        np.testing.assert_array_equal(read(image.array.darks), frames[10:])
    else:
        assert image.array.flats is None
        assert image.array.darks is None


@pytest.mark.parametrize("layout", ["key", "exchange", "named"])
def test_fields_of_another_file(tmp_path: Path, layout: str) -> None:
    frames, fields = frames_of(), frames_of(5, 1)
    path = diamond(tmp_path / "1000.nxs", frames[:4], np.zeros(4, int))
    options: dict[str, Any] = {"flats": tmp_path / "998.nxs"}
    if layout == "key":
        diamond(tmp_path / "998.nxs", fields, [1, 1, 2, 2, 2])
    else:
        group = "exchange" if layout == "exchange" else "calibration"
        with h5py.File(tmp_path / "998.nxs", "w") as file:
            file[f"{group}/data_white"], file[f"{group}/data_dark"] = fields[:2], fields[2:]
            if layout == "exchange":
                file["exchange/data"] = frames[:1]
        if layout == "named":
            options |= {"data_white": "calibration/data_white", "data_dark": "calibration/data_dark"}
    image = open_scan(path, **options)
    np.testing.assert_array_equal(read(image.array), frames[:4])
    np.testing.assert_array_equal(read(image.array.flats), fields[:2])
    np.testing.assert_array_equal(read(image.array.darks), fields[2:])
    assert NexusReader(**options).companions(path) == (tmp_path / "998.nxs",)


def test_paths_can_be_named(tmp_path: Path) -> None:
    frames = frames_of()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["mine/frames"], file["mine/what"], file["mine/turn"] = frames, KEY, np.arange(12.0)
    image = open_scan(tmp_path / "a.h5", data="mine/frames", image_key="mine/what", rotation_angle="mine/turn")
    assert_scan(image, frames)
    assert image.notes["angles"] == [3, 9]
    everything = open_scan(tmp_path / "a.h5", data="mine/frames")
    np.testing.assert_array_equal(read(everything.array), frames)


def test_virtual_datasets_and_external_links(tmp_path: Path) -> None:
    """As Diamond stores scans: frames in files of the detector, joined in a virtual dataset, the scan file linking to all."""
    frames = frames_of()
    layout = h5py.VirtualLayout(frames.shape, np.uint16)
    for number, (low, high) in enumerate([(0, 5), (5, 12)]):
        with h5py.File(tmp_path / f"frames_{number}.h5", "w") as file:
            file.create_dataset("data", data=frames[low:high], chunks=(1, ROWS, COLUMNS))
        layout[low:high] = h5py.VirtualSource(f"frames_{number}.h5", "data", (high - low, ROWS, COLUMNS))
    with h5py.File(tmp_path / "detector.h5", "w") as file:
        file.create_virtual_dataset("entry/data", layout)
    with h5py.File(tmp_path / "1000.nxs", "w") as file:
        entry = file.create_group("entry1/tomo_entry")
        entry.create_group("data")["data"] = h5py.ExternalLink("detector.h5", "entry/data")
        entry["instrument/detector/image_key"] = KEY
    assert_scan(open_scan(tmp_path / "1000.nxs"), frames)
    names = [path.name for path in NexusReader().companions(tmp_path / "1000.nxs")]
    assert names == ["detector.h5", "frames_0.h5", "frames_1.h5"]
    (tmp_path / "frames_1.h5").unlink()
    with pytest.raises(SourceError, match=r"leads to frames_1.h5, which is not there"):
        open_scan(tmp_path / "1000.nxs")


@pytest.mark.parametrize("lacking", ["frames", "key", "angles"])
def test_a_scan_that_was_broken_off(tmp_path: Path, lacking: str) -> None:
    frames = frames_of()
    count = {"frames": 9 if lacking == "frames" else 12, "key": 9 if lacking == "key" else 12, "angles": 9 if lacking == "angles" else 12}
    path = diamond(tmp_path / "a.nxs", frames[: count["frames"]], KEY[: count["key"]], np.linspace(0, 180, count["angles"]))
    with pytest.raises(SourceError, match=r"broken off: .*data/data has \d+ frames, .*image_key has \d+ frames.*\"partial\": \"keep\""):
        open_scan(path)
    image = open_scan(path, partial="keep")
    np.testing.assert_array_equal(read(image.array), frames[[3, 4, 6, 8]])


def test_frames_that_were_never_written(tmp_path: Path) -> None:
    frames = frames_of()
    path = diamond(tmp_path / "a.nxs", frames[:1], KEY)
    with h5py.File(path, "a") as file:
        entry = file["entry1/tomo_entry"]
        del entry["data/data"], entry["data/rotation_angle"]
        data = entry.create_dataset("data/data", frames.shape, "u2", chunks=(1, 4, COLUMNS))
        data[:6], data[8:9], data[6, :4] = frames[:6], frames[8:9], frames[6, :4]
    with pytest.raises(SourceError, match="5 of 12 frames were never written, the first is frame 6"):
        open_scan(path)
    image = open_scan(path, partial="keep")
    np.testing.assert_array_equal(read(image.array), frames[[3, 4, 8]])
    assert image.notes["missing"] == 5


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = diamond(tmp_path / "a.nxs", np.tile(frames_of(), (20, 1, 1)), np.tile(KEY, 20))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="cut short"):
        open_scan(path)


def test_mistakes(tmp_path: Path) -> None:
    frames = frames_of()
    path = diamond(tmp_path / "a.nxs", frames, np.ones(12, int))
    with pytest.raises(SourceError, match=r"no frame is a projection: .*image_key calls none of 12 frames 0"):
        open_scan(path)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["images"] = frames
    with pytest.raises(SourceError, match=r"no scan as NeXus or DXchange keep one; the file holds images .*option \"data\""):
        open_scan(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        for name in ("one", "two"):
            file[f"{name}/data/data"], file[f"{name}/instrument/detector/image_key"] = frames, KEY
    with pytest.raises(SourceError, match=r"there are 2 scans: one/data/data, two/data/data"):
        open_scan(tmp_path / "c.h5")
    assert_scan(open_scan(tmp_path / "c.h5", data="two/data/data"), frames)
    with pytest.raises(SourceError, match="data is no list of numbers, one for each frame"):
        open_scan(tmp_path / "c.h5", data="two/data/data", image_key="two/data/data")
    with pytest.raises(SourceError, match="nexus reads one file a layer, got 2"):
        NexusReader().open(LayerSource((path, path)), context())
    diamond(tmp_path / "d.nxs", frames[:, 1:], KEY)
    fine = diamond(tmp_path / "e.nxs", frames, KEY)
    with pytest.raises(SourceError, match="flat fields have 5 x 9 pixels, projections 6 x 9"):
        open_scan(fine, flats=tmp_path / "d.nxs")


class Counting(Frames):
    """Frames that count what is read of them."""

    boxes: ClassVar[list[Any]] = []

    def read_box(self, where: Any) -> Any:
        self.boxes.append(where)
        return super().read_box(where)


@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 6, 100])
@pytest.mark.parametrize("memory", [1, 5 * 9 * 2 * 3, 1 << 30])
def test_chunks_of_rows_change_nothing(chunk: int, memory: int) -> None:
    frames = frames_of()
    scan = ScanArray(Frames(frames, np.array(PROJECTIONS)), chunk, memory)
    expected = frames[PROJECTIONS]
    for row in range(ROWS):
        np.testing.assert_array_equal(scan[:, row], expected[:, row])
        np.testing.assert_array_equal(scan[1:4, row, 2:5], expected[1:4, row, 2:5])
    for low in range(ROWS):
        for high in range(low + 1, ROWS + 1):
            np.testing.assert_array_equal(scan[:, low:high], expected[:, low:high])
    np.testing.assert_array_equal(scan[2], expected[2])


@pytest.mark.parametrize(
    ("chunk", "memory", "reads"), [(2, 1 << 20, 3), (4, 1 << 20, 2), (100, 1 << 20, 1), (100, 3 * 90, 2), (1, 1 << 20, 6)]
)
def test_rows_one_by_one_go_through_the_file_once_a_chunk(chunk: int, memory: int, reads: int) -> None:
    Counting.boxes.clear()
    scan = ScanArray(Counting(frames_of(), np.array(PROJECTIONS)), chunk, memory)
    for row in range(ROWS):
        assert scan[:, row : row + 1].shape == (5, 1, COLUMNS)
    assert len({(box[1].start, box[1].stop) for box in Counting.boxes}) == reads
    assert sum(box[0].stop - box[0].start for box in Counting.boxes) == reads * len(PROJECTIONS)


def test_memory_is_that_of_a_chunk(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        shape = (64, 256, 256)
        file.create_dataset("entry1/tomo_entry/data/data", shape, "u2", chunks=(1, 256, 256))[...] = 1
        file["entry1/tomo_entry/instrument/detector/image_key"] = np.zeros(64, int)
    budget = 2_000_000
    reader = NexusReader(memory=ByteSize(budget))
    array = reader.open(LayerSource((tmp_path / "a.nxs",)), context()).array
    assert reader.resident(LayerSource((tmp_path / "a.nxs",))) >= budget
    tracemalloc.start()
    try:
        for row in range(256):
            assert array[:, row].sum() == 64 * 256
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * budget
