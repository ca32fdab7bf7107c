"""What the writer leaves, read by blosc2 alone and by our reader."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from curate_blosc2.partition import partition
from curate_blosc2.reader import Blosc2Reader
from curate_blosc2.storing import smallest
from curate_blosc2.writer import Blosc2Writer

from curate_core import Dataset, Grid, LayerSource, Patches, StepError
from curate_core.testing import context, make_batch, run_spec

RNG = np.random.default_rng(0)
SMOOTH = np.add.outer(np.add.outer(np.arange(40), np.arange(50)), np.arange(60)).astype(np.int16)
OBLIQUE = Grid(SMOOTH.shape, "zyx", [[0.1, 0, 2, 5], [0, 1.5, 0.3, 6], [3, 0, 0, 7.125], [0, 0, 0, 1]], "mm", oriented=True)


def write(path: Path, values: Any, grid: Grid | None = None, **options: Any) -> Path:
    where = grid or Grid.from_spacing(values.shape, "tzyx"[-values.ndim :], None)
    Blosc2Writer(**options).write_array(path, values, where, "ct", "case/whole")
    return path


def stored(path: Path) -> Any:
    """By blosc2 alone."""
    return blosc2.open(str(path), mode="r")


def test_it_opens_with_blosc2_alone(tmp_path: Path) -> None:
    values = SMOOTH.astype(np.float32)
    array = stored(write(tmp_path / "v.b2nd", values, patch=(16, 16, 16)))
    assert np.array_equal(array[:], values)
    assert array.dtype == np.float32
    assert (array.blocks, array.chunks) == partition(values.shape, "zyx", (16, 16, 16), 4)
    assert array.schunk.cparams.codec == blosc2.Codec.LZ4HC
    assert array.schunk.cparams.clevel == 5


def test_the_file_says_where_it_lies(tmp_path: Path) -> None:
    path = write(tmp_path / "v.b2nd", SMOOTH, OBLIQUE)
    array = stored(path)
    assert array.schunk.vlmeta["curate"] == {
        "format": 1,
        "array": "ct",
        "sample": "case/whole",
        "dtype": "int16",
        "sha256": hashlib.sha256(SMOOTH.tobytes()).hexdigest(),
        "axes": "zyx",
        "affine": OBLIQUE.affine.tolist(),
        "spacing": list(OBLIQUE.spacing),
        "origin": [5.0, 6.0, 7.125],
        "unit": "mm",
        "oriented": True,
        "calibrated": True,
    }
    image = Blosc2Reader().open(LayerSource((path,)), context("read"))
    assert image.grid == OBLIQUE
    assert dict(image.notes) == {"sample": "case/whole", "array": "ct"}


@pytest.mark.parametrize("codec", ["zstd", "lz4", "lz4hc", "zlib", "blosclz"])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_codecs_and_levels(tmp_path: Path, codec: Any, level: int) -> None:
    array = stored(write(tmp_path / "v.b2nd", SMOOTH, codec=codec, level=level, patch=(8, 8, 8)))
    assert np.array_equal(array[:], SMOOTH)
    assert array.schunk.cparams.codec.name.lower() == codec
    assert array.schunk.cparams.clevel == level
    assert (array.schunk.cratio > 1.5) == (level > 0)


@pytest.mark.parametrize(
    ("filter", "kept"),
    [("none", blosc2.Filter.NOFILTER), ("shuffle", blosc2.Filter.SHUFFLE), ("bitshuffle", blosc2.Filter.BITSHUFFLE)],
)
def test_filters(tmp_path: Path, filter: Any, kept: Any) -> None:
    array = stored(write(tmp_path / "v.b2nd", SMOOTH, filter=filter))
    assert [f for f in array.schunk.cparams.filters if f != blosc2.Filter.NOFILTER] == [kept] * (filter != "none")


def test_the_trial_finds_the_smallest() -> None:
    """Judged by writing all of each kind under each filter."""
    noise = RNG.normal(0, 60, (64, 64, 64))
    kinds = {
        "random bytes": RNG.integers(0, 256, (64, 64, 64), dtype=np.uint8),
        "noisy integers": (noise + 1000).astype(np.int16),
        "noisy floats": noise.astype(np.float32),
        "integers as floats": ((noise + 1000).astype(np.int16) / 320).astype(np.float32),
        "labels": (RNG.integers(0, 2, (8, 8, 8)) * 7).repeat(8, 0).repeat(8, 1).repeat(8, 2).astype(np.int32),
    }
    found = {}
    for name, values in kinds.items():
        blocks, chunks = partition(values.shape, "zyx", None, values.dtype.itemsize)
        sizes = {}
        for filter, code in (("none", 0), ("shuffle", 1), ("bitshuffle", 2)):
            parameters = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter(code)], "filters_meta": [0], "nthreads": 1}
            sizes[filter] = blosc2.asarray(values, chunks=chunks, blocks=blocks, cparams=parameters).schunk.cbytes
        found[name] = smallest(values, blocks, chunks, "zstd", 1)
        assert sizes[found[name]] <= 1.02 * min(sizes.values()), (name, sizes)
    assert found["random bytes"] == "none"
    assert len(set(found.values())) > 1


def test_the_same_bytes_today_and_next_year(tmp_path: Path) -> None:
    """A golden digest of each part that is ours: what blosc2 compresses to may change with its version, what it decodes to may not."""
    path = write(tmp_path / "v.b2nd", SMOOTH, OBLIQUE, patch=(16, 16, 16))
    array = stored(path)
    content = hashlib.sha256()
    content.update(np.ascontiguousarray(array[:]).tobytes())
    content.update(repr((array.shape, array.chunks, array.blocks, array.dtype.str)).encode())
    content.update(repr(sorted(array.schunk.vlmeta["curate"].items())).encode())
    content.update(repr([int(f.value) for f in array.schunk.cparams.filters]).encode())
    assert content.hexdigest() == GOLDEN


GOLDEN = "77aea20fce51485a880e8abbae47092c3e0d903ae7a8957d451cfa679cb7c75e"


def test_threads_do_not_change_the_bytes(tmp_path: Path) -> None:
    values = RNG.normal(0, 1, (64, 128, 128)).astype(np.float32)
    before = blosc2.set_nthreads(4)
    try:
        several = write(tmp_path / "a.b2nd", values, patch=(32, 32, 32)).read_bytes()
        blosc2.set_nthreads(1)
        one = write(tmp_path / "b.b2nd", values, patch=(32, 32, 32)).read_bytes()
    finally:
        blosc2.set_nthreads(before)
    assert several == one


# Options.


def batch_of(**arrays: Any) -> Any:
    return make_batch({name: values[None] for name, values in arrays.items()}, "zyx", (3.0, 1.5, 0.75))


def write_batch(folder: Path, batch: Any, **options: Any) -> Any:
    with Blosc2Writer(**options).open(folder, context("write")) as session:
        return session.write(batch)[0]


def test_channels_and_labels_become_nnunets_layout(tmp_path: Path) -> None:
    ct, pet, organs = SMOOTH, (SMOOTH / 7).astype(np.float32), (SMOOTH // 50).astype(np.uint8)
    batch = batch_of(ct=ct, pet=pet, organs=organs)
    options: Any = {"path": "plans/{case}.b2nd", "channels": ["pet", "ct"], "labels": ["organs"], "dtype": "float32", "patch": (16, 16, 16)}
    places = write_batch(tmp_path, batch, **options)
    assert {name: place.file for name, place in places.items()} == {"data": "plans/case.b2nd", "seg": "plans/case_seg.b2nd"}
    data, seg = stored(tmp_path / "plans/case.b2nd"), stored(tmp_path / "plans/case_seg.b2nd")
    assert np.array_equal(data[:], np.stack([pet, ct.astype(np.float32)]))
    assert np.array_equal(seg[:], organs[None])
    assert seg.dtype == np.uint8
    assert (data.blocks, data.chunks) == partition((2, *ct.shape), "czyx", (16, 16, 16), 4)
    assert data.schunk.vlmeta["curate"]["axes"] == "czyx"
    assert data.schunk.vlmeta["curate"]["spacing"] == [3.0, 1.5, 0.75]


def test_a_case_opens_with_nnunets_dataset(tmp_path: Path) -> None:
    """With a ``.pkl`` beside it, which curate does not write."""
    module = pytest.importorskip("nnunetv2.training.dataloading.nnunet_dataset", reason="nnunetv2 is not installed")
    batch = batch_of(ct=SMOOTH, organs=(SMOOTH // 50).astype(np.uint8))
    options: Any = {"path": "{case}.b2nd", "channels": ["ct"], "labels": ["organs"], "dtype": "float32", "patch": (16, 16, 16)}
    write_batch(tmp_path, batch, **options)
    (tmp_path / "case.pkl").write_bytes(pickle.dumps({"class_locations": {}}))
    dataset = module.nnUNetDatasetBlosc2(str(tmp_path))
    assert dataset.identifiers == ["case"]
    assert module.infer_dataset_class(str(tmp_path)) is module.nnUNetDatasetBlosc2
    data, seg, before, properties = dataset["case"]
    assert np.array_equal(data[:, 3:9, 4:8, 5:7], SMOOTH[None, 3:9, 4:8, 5:7].astype(np.float32))
    assert np.array_equal(seg[:], (SMOOTH // 50)[None])
    assert before is None
    assert properties == {"class_locations": {}}


def test_a_lossy_type_is_refused(tmp_path: Path) -> None:
    labels = SMOOTH.astype(np.int32) + 2040
    with pytest.raises(
        StepError, match=r"array 'image' cannot become float16 without loss: \d+ of 120000 int32 values would change"
    ) as caught:
        write_batch(tmp_path, batch_of(image=labels), dtype="float16")
    assert "such as 2049 to 2048" in str(caught.value)
    assert "cast" in caught.value.hint
    places = write_batch(tmp_path, batch_of(image=labels), dtype="uint16")
    assert places["image"].dtype == "<u2"


def test_activity_beyond_float16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="such as 80000.0 to inf"):
        write_batch(tmp_path, batch_of(image=np.full((4, 4, 4), 80000, np.float32)), dtype="float16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "{case}.npy"}, r"must end in \.b2nd"),
        ({"path": "{case!r}.b2nd"}, "not a plain name"),
        ({"path": "{array}.b2nd", "channels": ("a",)}, "has no meaning where channels"),
        ({"labels": ("a",)}, "lie beside channels"),
        ({"channels": ("a", "a")}, "names an array twice"),
        ({"dtype": "float31"}, "not the name of a NumPy type"),
        ({"dtype": "complex64"}, "not a type of real numbers"),
        ({"dtype": ">f4"}, "machine's byte order"),
        ({"level": 10}, "at most 9"),
        ({"patch": (0, 4, 4)}, "at least 1"),
    ],
)
def test_options_that_do_not_fit(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Blosc2Writer(**options)


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    small, other = SMOOTH, SMOOTH.astype(np.float32)
    with pytest.raises(StepError, match=r"arrays a, b, which would share the path") as caught:
        write_batch(tmp_path, batch_of(a=small, b=other))
    assert "{array}" in caught.value.hint
    with pytest.raises(StepError, match=r"different types cannot be written as one \(a: int16, b: float32\)") as caught:
        write_batch(tmp_path, batch_of(a=small, b=other), channels=("a", "b"))
    assert "dtype" in caught.value.hint
    cut = batch_of(a=small, b=small)
    cut = cut.with_array("b", small[None, :4], cut.grids["a"])
    with pytest.raises(StepError, match="different shapes cannot be written as one") as caught:
        write_batch(tmp_path, cut, channels=("a", "b"))
    assert "resample" in caught.value.hint
    coloured = make_batch({"a": np.zeros((1, 4, 4, 3), np.uint8)}, "yxc")
    with pytest.raises(StepError, match="has channels of its own"):
        write_batch(tmp_path, coloured, channels=("a",))


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.zeros((4, 4), np.complex64), "complex64 is no image of real numbers"), (np.zeros((0, 4), np.uint8), r"shape \(0, 4\) is empty")],
)
def test_what_it_does_not_store(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(StepError, match=message):
        write(tmp_path / "v.b2nd", values)


def test_a_whole_run(tmp_path: Path) -> None:
    """Volumes in, Blosc2 out, read again as the source of another run."""
    (tmp_path / "in").mkdir()
    for number in range(2):
        np.save(tmp_path / "in" / f"p{number}.npy", SMOOTH + number)
    spec = {
        "version": 1, "name": "whole", "source": {"use": "files", "pattern": "in/{case}.npy"}, "rois": [{"use": "whole"}],
        "read": {"*": {"use": "npy", "spacing": [3, 1.5, 0.75], "unit": "mm"}},
        "write": [{"use": "blosc2", "path": "{case}.b2nd", "patch": [16, 16, 16]}], "output": "out",
    }  # fmt: skip
    dataset = run_spec(spec, tmp_path)
    assert dataset.verify() == []
    assert np.array_equal(dataset[1]["image"], SMOOTH + 1)
    again = {
        "version": 1, "name": "patches", "source": {"use": "files", "pattern": "out/{case}.b2nd"}, "rois": [{"use": "grid", "size": 20}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}], "output": "patches",
    }  # fmt: skip
    patches = run_spec(again, tmp_path)
    assert len(patches) == 2 * 2 * 2 * 3
    assert np.array_equal(patches[0]["image"], SMOOTH[:20, :20, :20])


def test_random_patches_are_read_without_the_rest(tmp_path: Path) -> None:
    np.save(tmp_path / "ct.npy", SMOOTH)
    spec = {
        "version": 1,
        "name": "patches",
        "source": {"use": "files", "pattern": "{case}.npy"},
        "rois": [{"use": "whole"}],
        "write": [{"use": "blosc2", "path": "{case}.b2nd", "patch": [16, 16, 16]}],
        "output": "out",
    }
    run_spec(spec, tmp_path)
    dataset = Dataset(tmp_path / "out")
    patches = Patches(dataset, (8, 9, 10), per_sample=20)
    for found in (patches[i]["image"] for i in range(20)):
        z, y, x = np.argwhere(found[0, 0, 0] == SMOOTH)[0]
        assert found[0, 0, 0] == z + y + x
        assert np.array_equal(found - found[0, 0, 0], SMOOTH[:8, :9, :10])
    assert not isinstance(dataset.lazy(0)["image"], np.ndarray)
