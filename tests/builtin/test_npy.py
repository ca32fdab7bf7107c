"""NumPy files, one a sample or stacks, read back by numpy alone."""

import resource
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate_core.builtin.npy import NpyWriter
from curate_core.errors import StepError
from curate_core.kinds import Piece
from curate_core.model import Role
from curate_core.structure import Mistakes, structure
from curate_core.testing import context, make_batch, run_spec, values


def made(**options):
    return structure(options, NpyWriter, None)


def written(writer, folder, *batches):
    folder.mkdir(exist_ok=True)
    with writer.open(folder, context()) as session:
        return [placements for batch in batches for placements in session.write(batch)]


def load(path):
    return np.load(path, allow_pickle=False)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


DTYPES = ["bool", "uint8", ">u2", "int32", "float16", "float64", "complex64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stack", [False, True])
def test_values_come_back_as_they_were(tmp_path, dtype, stack):
    array = values((3, 4, 5), "float32" if dtype == "complex64" else dtype).astype(dtype)
    writer = made(stack=stack, path="{case}.npy" if stack else "{case}/{roi}.npy")
    placed = written(writer, tmp_path / "part", make_batch(array))
    assert [placements["image"].place for placements in placed] == ([0, 1, 2] if stack else [None] * 3)
    for row, placements in enumerate(placed):
        placement = placements["image"]
        back = writer.read(tmp_path / "part" / placement.file, placement.place)
        np.testing.assert_array_equal(back, array[row])
        assert (placement.dtype, placement.shape, back.dtype) == (array.dtype.str, (4, 5), array.dtype)
    if stack:
        np.testing.assert_array_equal(load(tmp_path / "part" / "case.npy"), array)


def test_a_file_a_sample_of_several_arrays(tmp_path):
    arrays = {"a": values((2, 3, 3)), "b": values((2, 3, 3), "int16")}
    writer = made(path="{array}/{case}/{y0}.npy")
    written(writer, tmp_path / "part", make_batch(arrays))
    assert files(tmp_path / "part") == ["a/case/0.npy", "a/case/3.npy", "b/case/0.npy", "b/case/3.npy"]
    np.testing.assert_array_equal(load(tmp_path / "part/b/case/3.npy"), arrays["b"][1])


def test_parts_of_samples_that_are_not_contiguous(tmp_path):
    array = values((2, 6, 8)).transpose(0, 2, 1)[:, ::2]
    for stack in (False, True):
        writer = made(stack=stack, path="{case}.npy" if stack else "{y0}.npy")
        written(writer, tmp_path / str(stack), make_batch(array))
        paths = files(tmp_path / str(stack))
        back = load(tmp_path / "True/case.npy") if stack else np.stack([load(tmp_path / "False" / path) for path in paths])
        np.testing.assert_array_equal(back, array)
        assert back.flags.c_contiguous


def test_stacks_by_attribute_grow_over_batches(tmp_path):
    split = np.array(["train", "test", "train"])
    arrays = [values((3, 4, 5), seed=n) for n in range(3)]
    writer = made(path="{split}/{array}.npy", stack=True)
    batches = [make_batch(array, first=3 * n, attributes={"split": split}) for n, array in enumerate(arrays)]
    placed = written(writer, tmp_path / "part", *batches)
    every = np.concatenate(arrays)
    train = np.tile(split == "train", 3)
    assert files(tmp_path / "part") == ["test/image.npy", "train/image.npy"]
    np.testing.assert_array_equal(load(tmp_path / "part/train/image.npy"), every[train])
    np.testing.assert_array_equal(load(tmp_path / "part/test/image.npy"), every[~train])
    for placements, array in zip(placed, every, strict=True):
        placement = placements["image"]
        np.testing.assert_array_equal(writer.read(tmp_path / "part" / placement.file, placement.place), array)


def test_stacks_can_be_read_while_they_grow(tmp_path):
    every = values((6, 4, 5), "int16")
    turns = np.array(["a", "b", "a"])
    with made(path="{turn}.npy", stack=True, dtype="float32").open(tmp_path, context()) as session:
        for first in (0, 3):
            session.write(make_batch(every[first : first + 3], first=first, attributes={"turn": turns}))
            so_far = np.tile(turns, first // 3 + 1)
            for turn in "ab":
                truth = every[: len(so_far)][so_far == turn].astype("float32")
                np.testing.assert_array_equal(load(tmp_path / f"{turn}.npy"), truth)
                np.save(tmp_path / "truth.npy", truth)
                assert (tmp_path / f"{turn}.npy").read_bytes() == (tmp_path / "truth.npy").read_bytes()


def test_two_writers_cannot_share_a_stack(tmp_path):
    batch = make_batch(values((2, 3, 4)))
    writer = made(path="{case}.npy", stack=True)
    with writer.open(tmp_path, context()) as one, writer.open(tmp_path, context()) as other:
        one.write(batch)
        before = (tmp_path / "case.npy").read_bytes()
        with pytest.raises(StepError) as caught:
            other.write(batch)
    assert str(caught.value) == "another writer of the spec has written case.npy (give each writer a path of its own)"
    assert (tmp_path / "case.npy").read_bytes() == before


@pytest.mark.parametrize("changes", [{}, {"layers": ["image"]}, {"dtype": "float32"}, {"layers": ["image"], "dtype": "float32"}])
def test_a_run_that_stacks_the_samples_of_several_cases(tmp_path, changes):
    """Stacks that differ from what was cut are read back for their digests before the part is closed."""
    volumes = {name: values((6, 8), seed=name) for name in ("a", "b")}
    for name, volume in volumes.items():
        np.save(tmp_path / f"{name}.npy", volume)
    write = {"use": "npy", "path": "all.npy", "stack": True, **changes}
    spec = {"source": {"use": "files", "pattern": "{case}.npy"}, "rois": [{"use": "grid", "size": [3, 4]}], "write": [write]}
    dataset = run_spec(spec, tmp_path)
    tiles = np.array([volumes[name][y : y + 3, x : x + 4] for name in volumes for y in (0, 3) for x in (0, 4)])
    truth = (tiles[:, None] if "layers" in changes else tiles).astype(changes.get("dtype", tiles.dtype))
    np.testing.assert_array_equal(load(tmp_path / "out/all.npy"), truth)
    assert load(tmp_path / "out/all.npy").dtype == truth.dtype
    assert dataset.verify() == []
    for row, sample in zip(truth, dataset, strict=True):
        (array,) = [value for value in sample.values() if isinstance(value, np.ndarray)]
        np.testing.assert_array_equal(array, row)


@pytest.mark.parametrize("stack", [False, True])
def test_layers_as_one(tmp_path, stack):
    arrays = {"25pc": values((2, 3, 4), "uint8"), "50pc": values((2, 3, 4), "uint8", 1), "100pc": values((2, 3, 4), "uint16")}
    writer = made(path="{case}.npy" if stack else "{y0}.npy", layers=["100pc", "25pc"], dtype="float32", stack=stack)
    placed = written(writer, tmp_path / "part", make_batch(arrays))
    truth = np.stack([arrays["100pc"], arrays["25pc"]], axis=1).astype("float32")
    back = load(tmp_path / "part/case.npy") if stack else np.stack([load(tmp_path / f"part/{y}.npy") for y in (0, 3)])
    np.testing.assert_array_equal(back, truth)
    assert (back.dtype, back.shape) == (np.float32, (2, 2, 3, 4))
    assert [list(placements) for placements in placed] == [["stack"], ["stack"]]


def test_another_type_where_nothing_is_lost(tmp_path):
    array = values((2, 3, 4), "uint8")
    written(made(path="{y0}.npy", dtype=">f4"), tmp_path / "part", make_batch(array))
    back = load(tmp_path / "part/0.npy")
    assert back.dtype == np.dtype(">f4")
    np.testing.assert_array_equal(back, array[0])


@pytest.mark.parametrize("stack", [False, True])
def test_a_type_that_loses_is_refused(tmp_path, stack):
    writer = made(path="{case}/{y0}.npy", dtype="uint8", stack=stack)
    with pytest.raises(StepError) as caught:
        written(writer, tmp_path / "part", make_batch(np.array([[[1, 256, -1]]])))
    assert str(caught.value) == (
        "array 'image' cannot become uint8 without loss: 2 of 3 int64 values would change, such as 256 to 0 "
        '(cast them in an earlier step, or name a "dtype" that holds them)'
    )


def test_arrays_that_would_share_a_path(tmp_path):
    batch = make_batch({"a": values((2, 3, 3)), "b": values((2, 3, 3))})
    for stack in (False, True):
        with pytest.raises(StepError) as caught:
            written(made(stack=stack), tmp_path / "part", batch)
        assert str(caught.value) == (
            "the samples have the arrays a, b, which would share the path '{case}/{roi}.npy' "
            '(add {array} to the path, or name "layers" to write them as one)'
        )


def test_layers_that_do_not_fit_together(tmp_path):
    big, small = make_batch({"a": values((2, 3, 3))}), values((2, 2, 3))
    batch = big.with_array("b", small, like="a")
    with pytest.raises(StepError, match=r"^arrays of different shapes cannot be written as one \(a: \(3, 3\), b: \(2, 3\)\)$"):
        written(made(layers=["a", "b"]), tmp_path / "part", batch)
    batch = big.with_array("b", values((2, 3, 3), "int16"), like="a")
    with pytest.raises(StepError) as caught:
        written(made(layers=["a", "b"]), tmp_path / "part", batch)
    assert str(caught.value) == (
        'arrays of different types cannot be written as one (a: uint8, b: int16) (name a "dtype" that holds them all)'
    )
    with pytest.raises(StepError, match="the samples have no array 'c'"):
        written(made(layers=["a", "c"]), tmp_path / "part", batch)


@pytest.mark.parametrize(("other", "shown"), [((2, 5), "(2, 5) uint8"), ((2, 3), "(2, 3) int16")])
def test_samples_of_different_kinds_cannot_share_a_stack(tmp_path, other, shown):
    one = make_batch(values((2, 2, 3)))
    two = make_batch(values((1, *other), shown.split()[-1]), first=2)
    with pytest.raises(StepError) as caught:
        written(made(path="{case}.npy", stack=True), tmp_path / "part", one, two)
    assert str(caught.value) == (
        f"samples of different kinds cannot share case.npy: (2, 3) uint8 and {shown} (pad them to one shape, or add a field to the path)"
    )


# assemble


def pieces_of(folder, placed):
    return [Piece(folder / p["image"].file, p["image"].place, str(i), "image", "case", {}) for i, p in enumerate(placed)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_assembled_stacks_hold_the_pieces_in_their_order(tmp_path_factory, counts, random):
    folder = tmp_path_factory.mktemp("parts")
    writer = made(path="{case}.npy", stack=True)
    pieces, truth = [], []
    for number, count in enumerate(counts):
        array = values((count, 3, 4), "int16", number)
        pieces += pieces_of(folder / f"part{number}", written(writer, folder / f"part{number}", make_batch(array)))
        truth += list(array)
    order = random.sample(range(len(pieces)), random.randint(1, len(pieces)))
    places = writer.assemble(folder / "all.npy", [pieces[i] for i in order], context())
    np.testing.assert_array_equal(load(folder / "all.npy"), [truth[i] for i in order])
    for place, i in zip(places, order, strict=True):
        np.testing.assert_array_equal(writer.read(folder / "all.npy", place), truth[i])


def test_an_assembled_stack_is_what_numpy_saves(tmp_path):
    writer = made(path="{case}.npy", stack=True)
    array = values((3, 4, 5), ">u2")
    writer.assemble(tmp_path / "all.npy", pieces_of(tmp_path / "part", written(writer, tmp_path / "part", make_batch(array))), context())
    np.save(tmp_path / "truth.npy", array)
    assert (tmp_path / "all.npy").read_bytes() == (tmp_path / "truth.npy").read_bytes()
    assert (tmp_path / "part/case.npy").read_bytes() == (tmp_path / "truth.npy").read_bytes()


def test_parts_of_different_kinds_cannot_be_assembled(tmp_path):
    writer = made(path="all.npy", stack=True)
    one = pieces_of(tmp_path / "1", written(writer, tmp_path / "1", make_batch(values((1, 2, 3)))))
    two = pieces_of(tmp_path / "2", written(writer, tmp_path / "2", make_batch(values((1, 2, 4)))))
    with pytest.raises(StepError) as caught:
        writer.assemble(tmp_path / "out.npy", one + two, context())
    assert str(caught.value) == (
        "samples of different kinds cannot share all.npy: (2, 3) |u1 and (2, 4) |u1 (pad them to one shape, or add a field to the path)"
    )
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux does")
def test_more_parts_than_files_that_may_be_open(tmp_path):
    writer = made(path="all.npy", stack=True)
    pieces = []
    for number in range(120):
        part = tmp_path / str(number)
        pieces += pieces_of(part, written(writer, part, make_batch(np.full((1, 2), number))))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (sum(1 for _ in Path("/proc/self/fd").iterdir()) + 40, before[1]))
    try:
        writer.assemble(tmp_path / "out.npy", pieces, context())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    np.testing.assert_array_equal(load(tmp_path / "out.npy")[:, 0], np.arange(120))


def test_a_unit_without_samples_writes_nothing(tmp_path):
    for stack in (False, True):
        assert written(made(stack=stack), tmp_path / str(stack)) == []
        assert files(tmp_path / str(stack)) == []


def test_scalars_and_single_values(tmp_path):
    array = np.arange(3.0).reshape(3, 1)
    writer = made(path="{case}.npy", stack=True)
    placed = written(writer, tmp_path / "part", make_batch(array))
    assert [writer.read(tmp_path / "part/case.npy", p["image"].place).tolist() for p in placed] == [[0.0], [1.0], [2.0]]


# options


def with_roles(batch, **roles):
    return attrs.evolve(batch, case=attrs.evolve(batch.case, roles=roles))


def test_an_array_for_each_pair_of_roles(tmp_path):
    arrays = {name: values((2, 3, 4), "int16", name) for name in ("ct", "low", "half", "full")}
    batch = with_roles(make_batch(arrays), low=Role(("ct", "low"), ("full",)), half=Role(("half", "ct"), ("half",)))
    writer = made(path="{array}.npy", stack=True, pairs=True, dtype="float32")
    placed = written(writer, tmp_path / "part", batch)
    assert [list(placements) for placements in placed] == [["low", "half"]] * 2
    for pair, names in (("low", ["ct", "low", "full"]), ("half", ["half", "ct", "half"])):
        stack = load(tmp_path / "part" / f"{pair}.npy")
        assert stack.dtype == np.float32
        np.testing.assert_array_equal(stack, np.stack([arrays[name] for name in names], axis=1))


def test_pairs_that_cannot_be_written(tmp_path):
    batch = make_batch({"ct": values((2, 3, 4)), "pet": values((2, 3, 4))})
    with pytest.raises(StepError) as caught:
        written(made(pairs=True), tmp_path / "none", batch)
    assert str(caught.value) == (
        'case case: the case has no pairs of inputs and targets (name "layers" instead, or use a source that knows roles)'
    )
    two = with_roles(batch, one=Role(("ct",), ()), other=Role(("pet",), ()))
    with pytest.raises(StepError) as caught:
        written(made(pairs=True), tmp_path / "two", two)
    assert str(caught.value) == (
        "the samples have the pairs one, other, which would share the path '{case}/{roi}.npy' (add {array} to the path)"
    )


def test_paths_before_anything_is_cut():
    batch = make_batch({"a": values((2, 3, 3)), "b": values((2, 3, 3))})
    assert made(path="{array}/{y0}.npy").paths(batch) == ["*/0.npy", "*/3.npy"]
    assert made(path="{case}.npy", stack=True).paths(batch) is None
    assert [made().assembles(), made(stack=True).assembles()] == [False, True]
    assert [made().unique_in_case(), made(path="{roi}.npy").unique_in_case(), made(path="{split}.npy", stack=True).unique_in_case()] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "{case}.npz"}, "path: '{case}.npz' must end with .npy"),
        ({"path": "{array}.npy", "layers": ["a"]}, "path: {array} has no meaning where layers are written as one"),
        ({"dtype": "uint7"}, "dtype: 'uint7' is not the name of a NumPy type"),
        ({"dtype": "O"}, "dtype: 'O' is not a type of numbers"),
        ({"dtype": "U5"}, "dtype: 'U5' is not a type of numbers"),
        ({"path": "{case.__class__}.npy"}, "{case.__class__} in the path '{case.__class__}.npy' is not a plain name"),
        ({"path": "{case.npy"}, "expected '}' before end of string"),
        ({"layers": []}, "needs at least 1 entries, has 0"),
        ({"layers": ["a", "a"]}, "layers: ['a', 'a'] names an array twice"),
        ({"layers": ["a"], "pairs": True}, "pairs: they name the layers themselves, so that layers must be left out"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(Mistakes) as caught:
        made(**options)
    assert str(caught.value) == message
