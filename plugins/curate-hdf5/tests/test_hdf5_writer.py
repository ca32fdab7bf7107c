"""What the writer leaves, read by h5py."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from curate_hdf5.create import PATCH_BYTES, WHOLE_BYTES, Groups, Storage, chunk_shape, create_dataset, create_file
from curate_hdf5.reader import Hdf5Reader
from curate_hdf5.writer import Hdf5Writer
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core import LayerSource, Piece, SourceError, StepError
from curate_core.structure import Mistakes, structure
from curate_core.testing import context, make_batch, values

Written = list[tuple[str, Piece, np.ndarray[Any, Any]]]


def writer(**options: Any) -> Hdf5Writer:
    made: Hdf5Writer = structure(options, Hdf5Writer, Path())
    return made


def write(made: Hdf5Writer, part: Path, *batches: Any) -> Written:
    """(file, piece, its values) of all arrays."""
    part.mkdir()
    found = []
    with made.open(part, context("write")) as session:
        for batch in batches:
            stored = made.arrays(batch)
            for row, sample in enumerate(session.write(batch)):
                for name, placement in sample.items():
                    attributes = {**batch.sample_attributes(row), "sources": {"image": ["a.tif"]}}
                    piece = Piece(part / placement.file, placement.place, batch.ids[row], name, batch.case.id, attributes)
                    found.append((placement.file, piece, stored[name][row]))
    return found


def assemble(made: Hdf5Writer, out: Path, written: Written) -> list[Any]:
    return made.assemble(out, [piece for _, piece, _ in written], context("write"))


def batch_of(
    count: int = 3, shape: tuple[int, ...] = (4, 6, 8), dtype: str = "uint16", case: str = "a", first: int = 0, **options: Any
) -> Any:
    array = values((count, *shape), dtype, (case, first))
    return make_batch(array, "zyx"[-len(shape) :], (3.0, 2.0, 1.0)[-len(shape) :], id=case, first=first, **options)


# Chunks.


@settings(max_examples=200, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    itemsize=st.sampled_from([1, 2, 4, 8]),
    patch=st.none() | st.lists(st.integers(1, 400), min_size=1, max_size=4),
)
def test_chunks_are_small_and_no_larger_than_they_need_be(shape: list[int], itemsize: int, patch: list[int] | None) -> None:
    patch = None if patch is None else patch[: len(shape)]
    limit = WHOLE_BYTES if patch is None else PATCH_BYTES
    chunk = chunk_shape(shape, itemsize, patch)
    wanted = shape if patch is None else [1] * (len(shape) - len(patch)) + patch
    assert all(1 <= c <= n and c <= w for c, n, w in zip(chunk, shape, wanted, strict=True))
    assert np.prod(chunk) * itemsize <= limit
    whole = np.prod([min(n, w) for n, w in zip(shape, wanted, strict=True)]) * itemsize
    assert np.prod(chunk) * itemsize > limit / 2 ** len(shape) / 2 or np.prod(chunk) * itemsize == whole


@pytest.mark.parametrize(
    ("shape", "itemsize", "patch", "chunk"),
    [
        ((300, 512, 512), 4, (128, 128, 128), (32, 32, 32)),
        ((300, 512, 512), 2, (128, 128, 128), (64, 32, 32)),
        ((2, 300, 512, 512), 4, (96, 96, 96), (1, 48, 24, 24)),
        ((64, 64, 64), 4, None, (64, 64, 64)),
        ((1000, 1000), 4, None, (500, 500)),
    ],
)
def test_chunks(shape: Any, itemsize: int, patch: Any, chunk: Any) -> None:
    assert chunk_shape(shape, itemsize, patch) == chunk


# One file of all samples.


def test_datasets_and_their_attributes(tmp_path: Path) -> None:
    made = writer(path="{split}/{case}/{z0}")
    batch = batch_of(2, case_attributes={"split": "train", "age": 7}, attributes={"score": np.array([0.5, 1.5])})
    assemble(made, tmp_path / "out.h5", write(made, tmp_path / "part", batch))
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file) == ["train"]
        assert list(file["train/a"]) == ["0", "4"]
        dataset = file["train/a/4"]
        assert np.array_equal(dataset[()], batch.array()[1])
        assert (dataset.compression, dataset.shuffle, dataset.chunks) == ("gzip", True, (4, 6, 8))
        found = dict(dataset.attrs)
    assert {name: found[name] for name in ("sample", "case", "axes", "unit")} == {
        "sample": batch.ids[1], "case": "a", "axes": "zyx", "unit": "nm",
    }  # fmt: skip
    assert found["spacing"].tolist() == [3.0, 2.0, 1.0]
    assert np.array_equal(found["affine"], batch.grids["image"](1).affine)
    assert (found["start"].tolist(), found["stop"].tolist()) == ([4, 0, 0], [8, 6, 8])
    assert json.loads(found["attributes"]) == {"split": "train", "age": 7, "score": 1.5}


def test_the_reader_gives_back_grid_and_values(tmp_path: Path) -> None:
    made = writer(path="{case}/{z0}")
    batch = batch_of(2)
    assemble(made, tmp_path / "out.h5", write(made, tmp_path / "part", batch))
    image = Hdf5Reader(dataset="a/4").open(LayerSource((tmp_path / "out.h5",)), context("read"))
    assert image.grid == batch.grids["image"](1)
    assert np.array_equal(np.asarray(image.array), batch.array()[1])


def tree(path: Path) -> list[Any]:
    """All that a file says, without how its bytes lie."""
    found: list[Any] = []

    def visit(name: str, item: Any) -> None:
        attributes = [(key, np.asarray(value).tolist()) for key, value in sorted(item.attrs.items())]
        if isinstance(item, h5py.Dataset):
            data = np.ascontiguousarray(item[()]).tobytes()
            digest = hashlib.sha256(data).hexdigest()[:16]
            found.append([name, item.shape, item.dtype.str, item.chunks, item.compression, item.shuffle, attributes, digest])
        else:
            found.append([name, attributes])

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


GOLDEN = {"samples": "4b5673a3", "stack": "790f83bb"}


@pytest.mark.parametrize("layout", ["samples", "stack"])
def test_golden(tmp_path: Path, layout: str) -> None:
    """A change of what files hold raises the writer's version."""
    made = writer(stack=layout == "stack", chunks=[2, 3, 8])
    array = (np.arange(2 * 4 * 6 * 8, dtype=np.uint16) ** 2).reshape(2, 4, 6, 8)
    batch = make_batch(array, "zyx", (3.0, 2.0, 1.0), id="a", case_attributes={"split": "train"})
    assemble(made, tmp_path / "out.h5", write(made, tmp_path / "part", batch))
    assert Hdf5Writer.version == 1
    assert hashlib.sha256(repr(tree(tmp_path / "out.h5")).encode()).hexdigest()[:8] == GOLDEN[layout], tree(tmp_path / "out.h5")


@pytest.mark.parametrize("options", [{}, {"stack": True, "chunks": [2, 3, 8]}])
def test_chunks_are_copied_as_they_are(tmp_path: Path, options: Any) -> None:
    made = writer(**options)
    written = write(made, tmp_path / "part", batch_of(3))
    places = assemble(made, tmp_path / "out.h5", written[::-1])

    def chunks(path: Path, place: Any) -> list[Any]:
        with h5py.File(path) as file:
            dataset = file[place if isinstance(place, str) else place[0]].id
            row = () if isinstance(place, str) else (place[1],)
            corners = [(0, 0, 0)] if isinstance(place, str) else [(z, y, 0) for z in (0, 2) for y in (0, 3)]
            return [dataset.read_direct_chunk((*row, *corner)) for corner in corners]

    for (_, piece, _), place in zip(written[::-1], places, strict=True):
        assert chunks(piece.path, piece.place) == chunks(tmp_path / "out.h5", place)


def test_no_times_are_stored(tmp_path: Path) -> None:
    made = writer()
    assemble(made, tmp_path / "out.h5", write(made, tmp_path / "part", batch_of(1)))
    with h5py.File(tmp_path / "out.h5") as file:
        for name in ("/", "a", "a/z0-4_y0-6_x0-8/image"):
            if name in file:
                info = h5py.h5o.get_info(file[name].id)
                assert (info.atime, info.mtime, info.ctime, info.btime) == (0, 0, 0, 0) if hasattr(info, "mtime") else True


def test_a_path_is_taken_once(tmp_path: Path) -> None:
    made = writer(path="{case}/{split}")
    batch = batch_of(2, case_attributes={"split": "train"})
    with pytest.raises(StepError, match="two arrays would take the path a/train in one file") as caught:
        write(made, tmp_path / "part", batch)
    assert "add a field" in caught.value.hint
    one, other = (write(made, tmp_path / name, batch_of(1, case_attributes={"split": "train"})) for name in ("one", "other"))
    with pytest.raises(StepError, match="two arrays would take the path a/train"):
        assemble(made, tmp_path / "out.h5", one + other)


def test_an_array_where_a_group_should_be(tmp_path: Path) -> None:
    file = create_file(tmp_path / "v.h5")
    groups = Groups(file)
    create_dataset(groups, "a", np.dtype("u1"), (3,), Storage(None))
    with pytest.raises(StepError, match="the path a in one file"):
        create_dataset(groups, "a/b", np.dtype("u1"), (3,), Storage(None))
    create_dataset(groups, "c/d", np.dtype("u1"), (3,), Storage(None))
    with pytest.raises(StepError, match="the path c in one file"):
        create_dataset(groups, "c", np.dtype("u1"), (3,), Storage(None))
    file.close()


def test_numbers_and_empty_arrays(tmp_path: Path) -> None:
    made = writer(path="{case}/{z0}/{array}")
    batch = batch_of(2).with_array("label", np.array([3.5, 4.5]), like="image").with_array("none", np.zeros((2, 0, 4)), like="image")
    written = write(made, tmp_path / "part", batch)
    places = assemble(made, tmp_path / "out.h5", written)
    for (_, _, expected), place in zip(written, places, strict=True):
        found = made.read(tmp_path / "out.h5", place)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["a/0/label"][()] == 3.5
        assert "axes" not in file["a/0/label"].attrs
    stacks = writer(stack=True)
    written = write(stacks, tmp_path / "stacks", batch)
    places = assemble(stacks, tmp_path / "stacks.h5", written)
    for (_, _, expected), place in zip(written, places, strict=True):
        assert np.array_equal(stacks.read(tmp_path / "stacks.h5", place), expected)


def test_names_that_utf_8_has_not(tmp_path: Path) -> None:
    case = os.fsdecode(b"caf\xe9")
    made = writer()
    written = write(made, tmp_path / "part", batch_of(1, case=case))
    (place,) = assemble(made, tmp_path / "out.h5", written)
    assert np.array_equal(made.read(tmp_path / "out.h5", place), written[0][2])
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file) == [r"caf\udce9"]
        assert next(iter(file[r"caf\udce9"].values()))["image"].attrs["case"] == r"caf\udce9"


def test_a_file_a_case_and_a_file_a_sample(tmp_path: Path) -> None:
    batches = [batch_of(2, case=case) for case in "ab"]
    by_case = writer(file="{case}.h5", path="{z0}")
    assert {file for file, *_ in write(by_case, tmp_path / "cases", *batches)} == {"a.h5", "b.h5"}
    assert by_case.assembles()
    assert by_case.unique_in_case()
    alone = writer(file="{case}/{roi}.h5", path="{array}")
    written = write(alone, tmp_path / "samples", *batches)
    assert not alone.assembles()
    assert [file for file, *_ in written] == [path for batch in batches for path in alone.paths(batch) or []]
    for _, piece, expected in written:
        assert np.array_equal(alone.read(piece.path, piece.place), expected)
    assert not writer(path="{roi}").unique_in_case()


# Stacks.


@pytest.mark.parametrize(
    ("options", "chunks", "compression"),
    [
        ({}, (7, 4, 6, 8), "gzip"), ({"chunks": [4, 6, 4]}, (1, 4, 6, 4), "gzip"), ({"patch": [3, 8]}, (1, 1, 3, 8), "gzip"),
        ({"compression": "lzf"}, (7, 4, 6, 8), "lzf"), ({"compression": "none"}, None, None),
        ({"compression": "none", "chunks": [4, 6, 8]}, (1, 4, 6, 8), None),
    ],
)  # fmt: skip
def test_stacks_in_manifest_order(tmp_path: Path, options: Any, chunks: Any, compression: Any) -> None:
    made = writer(stack=True, path="{split}", **options)
    split = np.array(["train", "val", "train"])
    batches = [batch_of(3, case=case, first=first, attributes={"split": split}) for case in "ab" for first in (0, 3)]
    written = [entry for number, batch in enumerate(batches) for entry in write(made, tmp_path / str(number), batch)]
    order = written[6:] + written[:5]
    places = assemble(made, tmp_path / "out.h5", order)
    with h5py.File(tmp_path / "out.h5") as file:
        for name in ("train", "val"):
            members = [(piece, value) for (_, piece, value), place in zip(order, places, strict=True) if place[0] == name]
            stack = file[name]
            assert np.array_equal(stack[()], np.stack([value for _, value in members]))
            if name == "train":
                assert (stack.chunks, stack.compression) == (
                    chunks if chunks is None else (min(chunks[0], len(members)), *chunks[1:]),
                    compression,
                )
                assert stack.maxshape == stack.shape
            assert file[f"{name}.ids"].asstr()[()].tolist() == [piece.sample for piece, _ in members]
            read = [json.loads(text) for text in file[f"{name}.attributes"].asstr()[()]]
            assert read == [{"split": name} for _ in members]
            starts = {piece.sample: place for (piece, _), place in zip(members, file[f"{name}.start"][()].tolist(), strict=True)}
            assert all(sample.startswith(f"{sample[0]}/") is False or place[0] % 4 == 0 for sample, place in starts.items())
            corners = file[f"{name}.affine"][:, :3, -1]
            assert np.array_equal(corners[:, 2], 3.0 * file[f"{name}.start"][:, 0])
            assert np.array_equal(file[f"{name}.stop"][()] - file[f"{name}.start"][()], [[4, 6, 8]] * len(members))
    for (_, _, expected), place in zip(order, places, strict=True):
        assert np.array_equal(made.read(tmp_path / "out.h5", place), expected)
        assert np.array_equal(np.asarray(made.lazy(tmp_path / "out.h5", place)[1:3, ::2]), expected[1:3, ::2])


def test_large_samples_have_chunks_of_their_own() -> None:
    made = writer(stack=True)
    assert made.stacked((64, 64, 64), 4).chunks == (1, 64, 64, 64)
    assert made.stacked((300, 512, 512), 4).chunks == (1, 38, 64, 64)
    assert made.stacked((28, 28), 1).chunks == (83, 28, 28)
    assert writer(stack=True, compression="none").settled((64, 64, 64), 4).chunks is None


def test_samples_of_different_kinds_do_not_stack(tmp_path: Path) -> None:
    made = writer(stack=True)
    with pytest.raises(StepError, match=r"samples of different kinds cannot share image of data.h5: \(\(4, 6, 8\), '<u2'\)"):
        write(made, tmp_path / "part", batch_of(1), batch_of(1, shape=(4, 6, 9)))
    parts = write(made, tmp_path / "one", batch_of(1)), write(made, tmp_path / "other", batch_of(1, dtype="uint8"))
    with pytest.raises(StepError, match="samples of different kinds cannot share the stack image"):
        assemble(made, tmp_path / "out.h5", parts[0] + parts[1])


def test_layers_as_one(tmp_path: Path) -> None:
    """The two files of an aligner's training set: image (n, 2, y, x)."""
    made = writer(file="x.h5", path="main", stack=True, layers=["src", "tgt"], dtype="float32", chunks=[1, 6, 8], compression="lzf")
    arrays = {"src": values((3, 6, 8)), "tgt": values((3, 6, 8), "int16", 1)}
    assemble(made, tmp_path / "x.h5", write(made, tmp_path / "part", make_batch(arrays)))
    with h5py.File(tmp_path / "x.h5") as file:
        main = file["main"]
        assert (main.shape, main.dtype, main.chunks, main.compression) == ((3, 2, 6, 8), np.dtype("<f4"), (1, 1, 6, 8), "lzf")
        assert np.array_equal(main[()], np.stack([arrays["src"], arrays["tgt"]], axis=1))


# What it refuses.


def test_lossy_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="array 'image' cannot become uint8 without loss"):
        write(writer(dtype="uint8"), tmp_path / "part", batch_of(1))
    found = write(writer(dtype="float32"), tmp_path / "other", batch_of(1))
    assert found[0][2].dtype == np.dtype("<f4")
    arrays = {"a": values((1, 4, 4)), "b": values((1, 4, 4), "float32")}
    with pytest.raises(StepError, match="arrays of different types cannot be written as one") as caught:
        writer(layers=["a", "b"]).arrays(make_batch(arrays))
    assert "dtype" in caught.value.hint
    batch = make_batch(arrays).with_array("b", np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(StepError, match="arrays of different shapes cannot be written as one"):
        writer(layers=["a", "b"]).arrays(batch)


def test_types_that_are_no_numbers() -> None:
    batch = batch_of(1)
    with pytest.raises(StepError, match="array 'image' holds <U1, HDF5 files of curate hold numbers"):
        writer().arrays(batch.with_array("image", np.array([["a"]])))


def test_arrays_that_would_share_a_path() -> None:
    batch = make_batch({"a": values((1, 4, 4)), "b": values((1, 4, 4))})
    with pytest.raises(StepError, match=r"the samples have the arrays a, b, which would share the path '\{case\}'") as caught:
        writer(path="{case}").arrays(batch)
    assert "{array}" in caught.value.hint


@pytest.mark.parametrize(("options", "name"), [({"chunks": [2, 2]}, "chunks"), ({"patch": [2, 2, 2, 2]}, "patch")])
def test_chunks_that_do_not_fit(tmp_path: Path, options: Any, name: str) -> None:
    with pytest.raises(StepError, match=rf"{name} .* does not fit a sample of shape \(4, 6, 8\)"):
        write(writer(**options), tmp_path / "part", batch_of(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "data.hdf"}, "must end in .h5 or .hdf5"), ({"file": "{array}.h5"}, r"\{array\} has no meaning here"),
        ({"path": "{case!r}"}, "path: .* is not a plain name"), ({"layers": ["a", "a"]}, "no name comes twice"),
        ({"layers": ["a"], "path": "{array}"}, "written as one"), ({"patch": [2], "chunks": [2]}, "give one of them"),
        ({"dtype": "flaot32"}, "is not the name of a NumPy type"), ({"dtype": "S3"}, "is not a type of numbers"),
        ({"master": "all.h5"}, "there is one file, data.h5"), ({"master": "{case}.h5", "file": "{case}.h5"}, "must be a plain path"),
        ({"master": "../all.h5", "file": "{case}.h5"}, "would leave the output folder"), ({"level": 0}, "at least 1"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options: Any, message: str) -> None:
    with pytest.raises(Mistakes, match=message):
        writer(**options)


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    made = writer()
    tmp_path.joinpath("part").mkdir()
    with made.open(tmp_path / "part", context()) as one, made.open(tmp_path / "part", context()) as other:
        one.write(batch_of(1))
        with pytest.raises(StepError, match="another writer of the spec has written data.h5"):
            other.write(batch_of(1))


# Reading back.


def test_reading_between_batches(tmp_path: Path) -> None:
    """A file that a reader holds open is closed before it is written to."""
    for made in (writer(), writer(stack=True)):
        part = tmp_path / str(made.stack)
        part.mkdir()
        with made.open(part, context("write")) as session:
            for first in (0, 3):
                batch = batch_of(3, first=first)
                for row, sample in enumerate(session.write(batch)):
                    placement = sample["image"]
                    assert np.array_equal(made.read(part / placement.file, placement.place), batch.array()[row])


def test_a_file_that_was_replaced_is_opened_anew(tmp_path: Path) -> None:
    made = writer()
    outs = []
    for number in range(2):
        batch = batch_of(1, first=0).with_array("image", np.full((1, 4, 6, 8), number, np.uint16))
        (place,) = assemble(made, tmp_path / f"{number}.h5", write(made, tmp_path / f"part{number}", batch))
        outs.append(tmp_path / f"{number}.h5")
    assert (made.read(outs[0], place) == 0).all()
    outs[1].replace(outs[0])
    assert (made.read(outs[0], place) == 1).all()


def test_reading_in_a_forked_process(tmp_path: Path) -> None:
    made = writer()
    written = write(made, tmp_path / "part", batch_of(1))
    (place,) = assemble(made, tmp_path / "out.h5", written)
    assert np.array_equal(made.read(tmp_path / "out.h5", place), written[0][2])
    end, child_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(child_end, b"same" if np.array_equal(made.read(tmp_path / "out.h5", place), written[0][2]) else b"other")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(end, 5) == b"same"
    os.close(end)
    os.close(child_end)


def test_few_files_stay_open(tmp_path: Path) -> None:
    made = writer(file="{case}.h5")
    for number in range(40):
        written = write(made, tmp_path / f"part{number}", batch_of(1, case=f"c{number}"))
        made.read(written[0][1].path, written[0][1].place)
    held = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and str(tmp_path) in str(link.readlink())]
    assert len(held) <= 16


def test_damage_is_told(tmp_path: Path) -> None:
    made = writer()
    (place,) = assemble(made, tmp_path / "out.h5", write(made, tmp_path / "part", batch_of(1)))
    with pytest.raises(KeyError):
        made.read(tmp_path / "out.h5", "b")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "out.h5").read_bytes()[:1000])
    with pytest.raises(SourceError, match="cut short"):
        made.read(tmp_path / "cut.h5", place)


# The master file.


def test_the_master_links_to_all_files(tmp_path: Path) -> None:
    made = writer(file="cases/{case}.h5", path="{z0}", master="all/data.h5")
    folder = tmp_path / "dataset"
    written = write(made, folder, batch_of(2, case="a"), batch_of(2, case="b/c"))
    assert made.index() == "all/data.h5"
    made.make_index(folder / "all" / "data.h5", [Piece(Path(file), p.place, p.sample, p.array, p.case, {}) for file, p, _ in written])
    folder.rename(tmp_path / "moved")
    with h5py.File(tmp_path / "moved" / "all" / "data.h5") as file:
        assert sorted(file["cases"]) == ["a.h5", "b"]
        assert file["cases"].get("a.h5", getlink=True).filename == "../cases/a.h5"
        assert np.array_equal(file["cases/a.h5/4"][()], written[1][2])
        assert np.array_equal(file["cases/b/c.h5/0"][()], written[2][2])
    assert (tmp_path / "moved" / "all" / "data.h5").stat().st_size < 4000


# Files of earlier versions are read for ever.


@pytest.mark.parametrize(("name", "places"), [("samples", ["a/0", "a/4"]), ("stack", [["image", 0], ["image", 1]])])
def test_files_of_version_1(name: str, places: list[Any]) -> None:
    array = (np.arange(2 * 4 * 6 * 8, dtype=np.uint16) ** 2).reshape(2, 4, 6, 8)
    path = Path(__file__).parent / "data" / f"version1_{name}.h5"
    for place, expected in zip(places, array, strict=True):
        assert np.array_equal(writer(stack=name == "stack").read(path, place), expected)


# Rounded floats.


@pytest.mark.parametrize(
    "options", [{"path": "{roi}"}, {"path": "main", "stack": True}, {"path": "main", "stack": True, "compression": "none"}]
)
def test_floats_rounded_to_decimals(tmp_path: Path, options: Any) -> None:
    smooth = np.cumsum(np.random.default_rng(0).normal(size=(3, 40, 50)), axis=2).astype(np.float32)
    sizes = {}
    for decimals in (None, 0, 2):
        made = writer(decimals=decimals, **options)
        written = write(made, tmp_path / f"part{decimals}", make_batch(smooth, "yx", (1.0, 1.0)))
        out = tmp_path / f"{decimals}.h5"
        places = assemble(made, out, written)
        error = max(float(np.abs(made.read(out, place) - values).max()) for place, (_, _, values) in zip(places, written, strict=True))
        assert error == 0 if decimals is None else 0 < error <= 10.0**-decimals + 1e-5
        again = tmp_path / f"again{decimals}.h5"
        assemble(made, again, written)
        assert again.read_bytes() == out.read_bytes()
        sizes[decimals] = out.stat().st_size
    assert sizes[0] < sizes[2] < sizes[None]


def test_integers_keep_their_values_whatever_decimals(tmp_path: Path) -> None:
    made = writer(path="{roi}", decimals=2)
    for _, piece, stored in write(made, tmp_path / "part", batch_of()):
        np.testing.assert_array_equal(made.read(piece.path, piece.place), stored)


def test_floats_that_cannot_be_rounded(tmp_path: Path) -> None:
    plain = np.zeros((1, 4, 4), np.float32)
    for value, dtype, text in (
        (np.nan, "float32", "holds float32 with NaN or infinite values, which cannot be rounded to 2 decimals .*clean them"),
        (1e12, "float32", "spreads over 1e.14 steps of 2 decimals, more than float32 stores .*keep fewer decimals"),
        (1.0, "float16", "holds float16"),
    ):
        array = plain.astype(dtype)
        array[0, 1, 1] = value
        with pytest.raises(StepError, match=text):
            writer(path="{roi}", decimals=2).arrays(make_batch(array, "yx"))
