"""Masks of stripes: the detector of Larix against its formulas written down slowly, archives, the detector that filters."""

import io
import zipfile
from typing import ClassVar

import numpy as np
import pytest
from curate_tomo.maskarchive import Addition, Member
from curate_tomo.maskfit import mask_of, plant, trials
from curate_tomo.masking import Filtering, Gradients, MaskArray
from curate_tomo.maskkernels import ranked
from curate_tomo.stripemask import StripeMask

from curate_core import Case, RequestError, SourceError, StepError
from curate_core.testing import PreprocessorTests, context, make_case, make_image, values

SMALL = Gradients(size=5, radius=2, threshold=0.5, length=12, depth=4, width=3, sensitivity=60)


def at(i, o, n):
    """The border rule."""
    if 0 <= i + o < n:
        return i + o
    return i - o if 0 <= i - o < n else min(max(i + o, 0), n - 1)


def slow(scan, d):
    """DETECT and MERGE, voxel by voxel."""
    angles, rows, columns = scan.shape
    g = np.zeros(scan.shape, np.float32)
    for c in range(columns):
        g[:, :, c] = np.abs(scan[:, :, at(c, 2, columns)] - scan[:, :, c])
    g = g.astype(float)
    raw = np.zeros(scan.shape, np.float32)
    offsets = range(-d.radius, d.radius + 1)
    for a, r, c in np.ndindex(scan.shape):
        plate = sum(g[at(a, i, angles), at(r, j, rows), c] for i in offsets for j in offsets) / (2 * d.radius + 1) ** 2
        sides = []
        for sign in (1, -1):
            beside = [g[a, at(r, j, rows), at(c, sign * k, columns)] for j in (-1, 0, 1) for k in range(1, d.radius + 1)]
            side = sum(beside) / (3 * d.radius)
            sides.append(min(plate, side) / max(plate, side) if max(plate, side) > 0 else 0.0)
        raw[a, r, c] = min(sides)
    w = np.zeros(scan.shape, np.float32)
    for a, r, c in np.ndindex(scan.shape):
        w[a, r, c] = sorted(raw[at(a, o, angles), r, c] for o in range(-d.size, d.size + 1))[d.size - 1]
    m = w <= d.threshold

    def count(mask, axis, half):
        n = mask.shape[axis]
        index = np.array([[at(i, o, n) for o in range(-half, half + 1)] for i in range(n)])
        return np.moveaxis(np.moveaxis(mask, axis, 0)[index].sum(axis=1), 0, axis)

    kept = m & (count(m, 1, d.depth // 2) <= int(0.01 * d.sensitivity * d.depth))
    kept &= count(m, 0, d.length // 2) >= int(0.01 * d.sensitivity * d.length)
    mask = kept & (count(kept, 0, d.length // 2) >= d.length / 2)
    for _ in range(d.width):
        grown = mask.copy()
        for a, r, c in np.ndindex(mask.shape):
            across = [any(mask[a, r, at(c, s * o, columns)] for o in range(1, d.width // 2 + 1)) for s in (-1, 1)]
            along = [any(mask[at(a, s * o, angles), r, c] for o in range(1, 2 * d.width + 1)) for s in (-1, 1)]
            grown[a, r, c] |= all(across) or all(along)
        mask = grown
    return mask


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "detector"),
    [
        ((20, 6, 13), SMALL),
        (
            (9, 3, 5),
            Gradients(size=12, radius=2, threshold=0.7, length=20, depth=30, width=3, sensitivity=70),
        ),  # windows larger than the scan
        ((9, 3, 5), Gradients(size=12, radius=2, threshold=0.7, length=20, depth=2, width=3, sensitivity=100)),
        ((14, 5, 9), Gradients(size=3, radius=1, threshold=0.7, length=6, depth=2, width=4, sensitivity=85)),
        ((11, 4, 3), Gradients(size=12, radius=1, threshold=0.7, length=8, depth=30, width=2, sensitivity=70)),
    ],
)
def test_it_is_what_the_formulas_say(shape, detector):
    masked = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scan = (rng.integers(0, 30, shape) / 8).astype(np.float32)  # sums are exact, whatever their order
        scan[:, :, shape[2] // 2] = scan[:1, :, shape[2] // 2]
        found = mask_of(scan, detector)
        np.testing.assert_array_equal(found, slow(scan, detector))
        masked += found.sum()
    assert 0 < masked < 4 * np.prod(shape)


def test_a_single_row_has_no_stripes():
    """Its mirrors count as rows around, and what is in all of them is an edge."""
    assert not mask_of(values((31, 1, 8), "float32"), SMALL).any()


@pytest.mark.parametrize(("angles", "size"), [(1, 3), (5, 3), (6, 3), (7, 3), (8, 3), (40, 3), (50, 11), (23, 11), (22, 11)])
def test_ranks_are_those_of_sorted_windows(angles, size):
    plane = values((angles, 6), "float32", (angles, size)).copy()
    plane[:, 0] = np.round(plane[:, 0])  # ties
    wanted = [[sorted(plane[at(a, o, angles), c] for o in range(-size, size + 1))[size - 1] for c in range(6)] for a in range(angles)]
    np.testing.assert_array_equal(ranked(plane, size), np.float32(wanted))


@pytest.mark.parametrize("detector", [SMALL, Filtering(window=5, piece=16)], ids=["gradients", "filtering"])
@pytest.mark.parametrize("step", [1, 2, 5, 40])
def test_pieces_of_rows_make_no_difference(detector, step):
    scan = values((32, 11, 24), "float32")
    whole = mask_of(scan, detector)
    pieces = [plane for first in range(0, 11, step) for plane in detector.rows(scan, first, min(11, first + step))]
    np.testing.assert_array_equal(np.stack(pieces, axis=1), whole)
    lazy = MaskArray(scan, detector)
    for row in (7, 8, 2, 10):
        np.testing.assert_array_equal(lazy[row : row + 1, 3:9, 5:], whole[3:9, row : row + 1, 5:].swapaxes(0, 1))
    np.testing.assert_array_equal(lazy[...], whole.swapaxes(0, 1))


@pytest.fixture(scope="module")
def sample():
    """A smooth sinogram of a ball that goes round, with noise."""
    a, r, c = np.mgrid[:240, :12, :160]
    ball = 2 * np.exp(-(((c - 80 - 40 * np.sin(a / 240 * np.pi)) / 30.0) ** 2)) + 0.5 * np.exp(-(((c - 60) / 40.0) ** 2)) + 0.01 * r
    return ball + np.random.default_rng(0).normal(0, 0.005, ball.shape)


def test_planted_stripes_are_found(sample):
    scan, truth = plant(sample, np.random.default_rng(1), 20, strength=0.2)
    filtering, gradients = trials(scan, truth, [Gradients(size=40, length=100), Filtering()])
    assert isinstance(filtering.detector, Filtering)
    assert filtering.precision > 0.9
    assert filtering.recall > 0.85
    assert gradients.f1 < filtering.f1
    assert not mask_of(sample, Filtering()).any()


def test_stripes_that_end_need_pieces(sample):
    scan, truth = plant(sample, np.random.default_rng(2), 12, strength=0.3, least=0.35)
    best, *others = trials(scan, truth, [Filtering(), Filtering(piece=120)])
    assert best.detector.piece == 120
    assert best.f1 > others[0].f1 + 0.05


def test_the_search_takes_the_best_and_the_first_of_equals(sample):
    scan, truth = plant(sample[:, :4], np.random.default_rng(3), 6, strength=0.2)
    found = trials(scan, truth, [Filtering(snr=s) for s in (1e6, 6.0, 6.5)])
    assert [t.detector.snr for t in found] == [6.0, 6.5, 1e6]
    assert found[-1].recall < found[0].recall
    nothing = trials(scan, np.zeros_like(truth), [Filtering(snr=1e9)])[0]
    assert (nothing.precision, nothing.recall) == (1, 1)
    with pytest.raises(ValueError, match="a scan of shape"):
        trials(scan, truth[1:], [])


# Archives.


def archive(path, **masks):
    np.savez_compressed(path, **masks)
    return path


MASK = values((4, 5, 6), "bool")


def test_a_member_is_added_and_the_others_stay_as_they_are_packed(tmp_path):
    path = archive(tmp_path / "masks.npz", m1=MASK, m2=~MASK)
    before = {info.filename: packed(path, info) for info in zipfile.ZipFile(path).infolist()}
    Addition(path, "m3").write(MASK[:, ::-1])
    with np.load(path, allow_pickle=False) as found:
        assert sorted(found) == ["m1", "m2", "m3"]
        np.testing.assert_array_equal(found["m1"], MASK)
        np.testing.assert_array_equal(found["m3"], MASK[:, ::-1])
    infos = zipfile.ZipFile(path).infolist()
    assert {info.filename: packed(path, info) for info in infos if info.filename in before} == before
    assert zipfile.ZipFile(path).testzip() is None
    assert [p.name for p in tmp_path.iterdir()] == ["masks.npz"]


def packed(path, info):
    """The bytes of a member as they lie in the file."""
    data = path.read_bytes()[info.header_offset :]
    start = 30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")
    return data[start : start + info.compress_size]


def test_a_member_that_is_there(tmp_path):
    path = tmp_path / "masks.npz"
    Addition(path, "m1").write(MASK)
    before = path.read_bytes()
    with pytest.raises(RequestError, match=r"masks.npz: the archive has a mask 'm1' already .*--overwrite replaces it, --file-name"):
        Addition(path, "m1")
    assert path.read_bytes() == before
    Addition(path, "m1", overwrite=True).write(~MASK)
    with np.load(path, allow_pickle=False) as found:
        assert list(found) == ["m1"]
        np.testing.assert_array_equal(found["m1"], ~MASK)
    Addition(tmp_path / "again.npz", "m1").write(~MASK)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes(), "the same bytes, whenever it is made"


def test_jobs_at_once_keep_each_others_masks(tmp_path):
    path = tmp_path / "masks.npz"
    jobs = [Addition(path, name) for name in ("m1", "m2", "m1")]  # the archive is not there when they begin
    jobs[0].write(MASK)
    jobs[1].write(~MASK)
    with pytest.raises(RequestError, match="the archive has a mask 'm1' already"):
        jobs[2].write(~MASK)
    long = Addition(path, "m3")
    Addition(path, "m1", overwrite=True).write(MASK[:1])  # moves the others within the file
    long.write(MASK)
    with np.load(path, allow_pickle=False) as found:
        assert sorted(found) == ["m1", "m2", "m3"]
        for name, mask in (("m1", MASK[:1]), ("m2", ~MASK), ("m3", MASK)):
            np.testing.assert_array_equal(found[name], mask)


def test_a_full_disk_leaves_the_old_archive(tmp_path, monkeypatch):
    path = archive(tmp_path / "masks.npz", m1=MASK)
    before = path.read_bytes()
    monkeypatch.setattr("curate_tomo.maskarchive._copy_packed", broken)
    with pytest.raises(OSError, match="full"):
        Addition(path, "m2").write(MASK)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["masks.npz"]


def broken(*_):
    message = "full"
    raise OSError(message)


def test_what_is_no_archive_is_not_added_to(tmp_path):
    (tmp_path / "thesis.npz").write_bytes(b"years of work")
    with pytest.raises(RequestError, match=r"this is no archive of masks: .* \(name another with --archive; nothing was changed\)"):
        Addition(tmp_path / "thesis.npz", "m1")


def test_members_are_read_in_any_order(tmp_path):
    member = Member(archive(tmp_path / "masks.npz", m1=MASK, m2=MASK.astype(np.uint8) * 7), "m2.npy")
    np.testing.assert_array_equal(member[...], MASK)
    np.testing.assert_array_equal(member[2:4, 1, ::2], MASK[2:4, 1, ::2])
    np.testing.assert_array_equal(member[0], MASK[0])
    member.close()


def cut_short(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def scrambled(path):
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut_short, scrambled, lambda path: path.write_bytes(b"")], ids=["short", "scrambled", "empty"])
def test_damaged_archives(tmp_path, damage):
    path = archive(tmp_path / "masks.npz", m1=values((40, 50, 60), "bool"))
    damage(path)
    with pytest.raises(SourceError, match=r"masks.npz: the archive of masks cannot be read: "):
        Member(path, "m1")[...]


def test_what_is_no_mask(tmp_path):
    path = archive(tmp_path / "masks.npz", m1=MASK.astype(float), m2=MASK[0], m1000=MASK)
    with pytest.raises(SourceError, match=r"the member 'm1' is no mask: <f8 of shape \(4, 5, 6\) .*a mask is \(angle, row, column\)"):
        Member(path, "m1")
    with pytest.raises(SourceError, match="the member 'm2' is no mask"):
        Member(path, "m2")
    with pytest.raises(SourceError, match=r"the archive has no mask 'm1001' \(did you mean 'm1000'"):
        Member(path, "m1001")
    with pytest.raises(SourceError, match=r"the archive has no mask 'other' .*it has m1, m2, m1000; curate stripe-mask adds one"):
        Member(path, "other")
    with pytest.raises(SourceError, match=r"the mask 'm1000' has 4 x 5 x 6 angles, rows and columns, the scan 4 x 5 x 7 "):
        Member(path, "m1000").require((4, 5, 7))
    with pytest.raises(SourceError, match="cannot be read"):
        Member(tmp_path / "none.npz", "m1")


# The preprocessor.


class TestStripeMask(PreprocessorTests):
    component = StripeMask
    options: ClassVar = {"gradients": {"size": 5, "length": 12, "depth": 4, "width": 3}}
    axes, shape, dtype, spacing = "azx", (20, 4, 16), "float32", (1.5, 0.75)


def test_found_or_read_it_is_the_same_layer(tmp_path, sample):
    scan, _ = plant(sample[:, :5], np.random.default_rng(4), 6, strength=0.2)
    case = Case("s", {"scan": make_image(scan, "azx")})
    found = StripeMask(method="filtering").apply(case, context(folder=tmp_path)).image("mask")
    assert found.grid.axes == "azx"
    mask = np.asarray(found.array)
    np.testing.assert_array_equal(mask, mask_of(scan, Filtering()))
    assert found.notes["mask"].startswith("filtering: window 11, snr 6.0")
    Addition(tmp_path / "masks.npz", "ms").write(mask)
    read = StripeMask(archive=tmp_path / "masks.npz", member="ms").apply(case, context(folder=tmp_path / "two")).image("mask")
    np.testing.assert_array_equal(np.asarray(read.array), mask)
    assert read.notes["mask"] == "masks.npz: ms"


def test_what_it_refuses():
    counts = make_case({"scan": values((20, 4, 16), "uint16")}, "azx")
    with pytest.raises(StepError, match=r"found in line integrals with axes 'azx', not in uint16 .*put \"normalize-flats\" before it"):
        StripeMask().apply(counts, context())
    with pytest.raises(StepError, match="not in float32 with 'zyx'"):
        StripeMask().apply(make_case({"scan": values((20, 4, 16), "float32")}, "zyx"), context())
    with pytest.raises(StepError, match=r"there is a layer 'scan' already \(name another under \"to\"\)"):
        StripeMask(to="scan").apply(make_case({"scan": values((20, 4, 16), "float32")}, "azx"), context())


def test_nothing_is_computed_before_it_is_read(monkeypatch):
    monkeypatch.setattr(Gradients, "rows", lambda *_: pytest.fail("computed"))
    StripeMask().apply(make_case({"scan": values((20, 4, 16), "float32")}, "azx"), context())


def test_the_other_library_reads_what_is_written(tmp_path):
    Addition(tmp_path / "masks.npz", "m1").write(MASK)
    with zipfile.ZipFile(tmp_path / "masks.npz") as file:
        assert file.namelist() == ["m1.npy"]
        np.testing.assert_array_equal(np.load(io.BytesIO(file.read("m1.npy")), allow_pickle=False), MASK)
