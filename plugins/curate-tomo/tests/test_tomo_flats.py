"""Flat fields, photons and stripes against statistics."""

import random

import attrs
import numpy as np
import pytest
from curate_tomo.flatfields import FlatFields
from curate_tomo.flats import Beam, Padding, background, draw_flat, drift, gain_of, make_response, mean_flat, moved, offsets
from curate_tomo.speckle import speckle
from scipy import stats
from scipy.special import spherical_yn

from curate_core import Case, StepError
from curate_core.arrays import CropArray
from curate_core.kinds import CASE, generator
from curate_core.model import Image
from curate_core.testing import context, make_case, make_image

BEAM = Beam(40000, 20, (1.0, 25.0), 3, 2, 0.5, 10, 0.03, 2, 0.6)
SHAPE = (12, 20, 30)


def rng(*key: object) -> np.random.Generator:
    return generator("test", *key)


def lines(value: float = 0.0, shape: tuple[int, int, int] = SHAPE) -> Image:
    """Projections of a sample that thickens along the columns, up to ``value``."""
    return make_image(np.broadcast_to(np.linspace(0, value, shape[2], dtype=np.float32), shape), "zax")


def simulate(image: Image, case: str = "0", **options: object) -> dict[str, np.ndarray]:
    step = FlatFields(**options)
    before = Case(case, {"clean": image})
    known = step.merge([step.measure(before, context("flat-fields", case=case))])
    after = step.apply(before, context("flat-fields", case=case, statistics=known))
    return {name: layer.array[...] for name, layer in after.images().items()}


def test_the_background_is_bessels() -> None:
    wave = spherical_yn(1, np.linspace(1, 25, 101))
    found = background(101, (1, 25))
    np.testing.assert_allclose(found, (wave - wave.min()) + (wave - wave.min())[::-1])
    np.testing.assert_allclose(found, found[::-1])


def test_speckle_is_fully_developed() -> None:
    """Its intensity has an exponential distribution, so that counts have the variance m + m^2 (Goodman); neighbours belong together."""
    counts = speckle(rng("a"), (600, 500), 4, 20.0)
    assert counts.sum() == 20 * 600 * 500
    assert counts.var() == pytest.approx(20 + 400, rel=0.03)
    centred = counts - counts.mean()
    beside = (centred[:, 1:] * centred[:, :-1]).mean() / centred.var()
    apart = (centred[:, 4:] * centred[:, :-4]).mean() / centred.var()
    assert beside > 0.7  # sinc^2(1/4) = 0.81 of the part that is not shot noise
    assert abs(apart) < 0.05  # the first zero lies at the speckle's size


def test_gains_lie_between_dead_and_one() -> None:
    gain = gain_of(rng, 80, 90, BEAM)
    assert gain.max() == 1
    assert gain.min() >= 1e-3
    smooth = gain_of(rng, 80, 90, attrs.evolve(BEAM, speckle_size=0))
    assert np.ptp(smooth, axis=1).max() < 1e-15


def test_flats_have_mean_and_variance_of_photons_and_noise_of_their_own() -> None:
    gain = gain_of(rng, 40, 50, BEAM)
    flats = np.stack([draw_flat(rng, gain, 40000, index) for index in range(400)])
    z = (flats - gain * 40000) / np.sqrt(gain * 40000)
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert z.var() == pytest.approx(1, abs=5 * np.sqrt(2 / z.size))
    assert z.mean(0).var() == pytest.approx(1 / 400, rel=0.15)  # no noise that flats share
    assert np.corrcoef(z[0].ravel(), z[1].ravel())[0, 1] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("flatsnum", [1, 20, 100])
def test_the_mean_of_more_flats_has_less_noise(flatsnum: int) -> None:
    beam = attrs.evolve(BEAM, flatsnum=flatsnum)
    gain = gain_of(rng, 60, 70, beam)
    z = (mean_flat(rng, gain, beam) - gain) / np.sqrt(gain / (flatsnum * 40000))
    assert z.mean() == pytest.approx(0, abs=5 / np.sqrt(z.size))
    assert z.var() == pytest.approx(1, abs=5 * np.sqrt(2 / z.size))


def test_defects_are_few() -> None:
    maps = make_response(rng, 256, 362, BEAM).defects
    assert maps.shape == (3, 256, 362)
    assert maps.max() == 1
    assert maps.min() == 0
    assert 0 < (maps > 0).mean() < 0.05
    for found in maps:
        assert found[found > 0].min() >= 0.6 * found.max()


def test_responses_over_angles() -> None:
    found = drift(rng("drift"), 400)
    assert (found[0] == -1).all()
    assert found[1].max() == 1
    assert found[2].max() == 1
    assert np.argmax(found[1]) == pytest.approx(400 / 3, abs=30)
    assert np.corrcoef(found[2], np.exp(np.linspace(0, np.pi, 400)))[0, 1] > 0.999


def test_offsets_are_those_of_the_document() -> None:
    assert offsets(5, 2) == [-4, -2, 0, 2, 4]
    assert offsets(4, 3) == [-6, -3, 0, 3]
    assert Padding.of(offsets(5, 2)) == Padding(4, 4)
    assert Padding.of(offsets(4, 1.5)) == Padding(2, 3)
    assert Padding.of([]) == Padding(0, 0)


def test_maps_move_without_wrapping_around() -> None:
    padding = Padding(4, 4)
    tall = np.arange(18.0)[:, None] * np.ones(3)
    for offset in (-4, 0, 3, 4):
        expected = np.arange(10) + 4 - offset
        np.testing.assert_array_equal(moved(tall, 0, 10, offset, padding)[:, 0], expected)
    np.testing.assert_allclose(moved(tall, 2, 5, -2.5, padding)[:, 0], [8.5, 9.5, 10.5])
    np.testing.assert_allclose(moved(tall[None], 2, 5, 1.25, padding)[0, :, 0], [4.75, 5.75, 6.75])


def test_photons_have_poisson_statistics() -> None:
    """-log(n / I0) turned back into n."""
    image = lines(1.0, (30, 50, 40))
    counts = np.exp(-simulate(image, shifts=0, I0=1000)["clean"].astype(float)) * 1000
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-2)
    counts = np.rint(counts)
    expected = 1000 * np.exp(-np.asarray(image.array, float))
    z = (counts - expected) / np.sqrt(expected)
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert z.var() == pytest.approx(1, abs=5 * np.sqrt(2 / z.size))
    for column in (0, 39):  # full beam, greatest absorption
        law = stats.poisson(expected[0, 0, column])
        edges = law.ppf(np.linspace(0.1, 0.9, 9))
        seen = np.bincount(np.searchsorted(edges, counts[:, :, column].ravel()), minlength=10)
        share = np.diff([0, *law.cdf(edges), 1])
        assert stats.chisquare(seen, share * seen.sum()).pvalue > 1e-3
    for a, b in ((z[1:], z[:-1]), (z[:, 1:], z[:, :-1]), (z[:, :, 1:], z[:, :, :-1])):
        assert (a * b).mean() == pytest.approx(0, abs=5 / np.sqrt(a.size))  # every row, angle and column has its own


def test_clean_is_the_projections_and_noise() -> None:
    image = lines(80.0)
    found = simulate(image, shifts=0, I0=1e9)["clean"]
    np.testing.assert_allclose(found, image.array, atol=80 * 5 / np.sqrt(1e9 / np.e))
    assert np.array_equal(simulate(image, shifts=0, noise="none")["clean"].round(2), np.asarray(image.array).round(2))


def test_thickness_is_what_absorption_says() -> None:
    image = lines(80.0, (8, 200, 30))
    for absorption in (0.5, 2.0):
        found = simulate(image, shifts=0, absorption=absorption)["clean"][:, :, -1] / (80 / absorption)
        assert found.std() == pytest.approx(1 / np.sqrt(40000 * np.exp(-absorption)), rel=0.1)  # of -log n


def test_without_defects_a_shift_differs_by_full_stripes_alone() -> None:
    found = simulate(lines(50.0), shifts=3, miscalibration=0)
    for index in range(3):
        difference = found[f"shift{index:02}"] - found["clean"]
        assert np.ptp(difference, axis=1).max() < 2e-4  # constant along the angle, but for float32
        assert difference.std() > 1e-3
        expected = 50 / np.sqrt(20 * 40000)  # noise of 20 flats, in units of the projections; more where the gain is less
        assert expected < difference.std() < 5 * expected


def test_the_difference_knows_nothing_of_the_photons() -> None:
    """The same stripes with other photons, and with none."""
    image, options = lines(50.0), {"shifts": 1, "miscalibration": 0.0}
    noisy, exact = simulate(image, **options), simulate(image, noise="none", **options)
    np.testing.assert_allclose(noisy["shift00"] - noisy["clean"], exact["shift00"] - exact["clean"], atol=2e-4)
    assert (noisy["clean"] != exact["clean"]).mean() > 0.9


def test_defects_stay_in_their_pixels() -> None:
    shape = (40, 30, 60)
    options = {"shifts": 3, "flatsnum": 2000, "I0": 1e6, "shiftstep": 5}
    found, sound = (simulate(lines(20.0, shape), miscalibration=m, **options) for m in (0.07, 0.0))
    response = make_response(context("flat-fields", case="0").rng, 40 + 10, 60, attrs.evolve(BEAM, I0=1e6, flatsnum=2000))
    for index, offset in enumerate((-5, 0, 5)):
        changed = (found[f"shift{index:02}"] != sound[f"shift{index:02}"]).any(axis=1)
        where = (response.defects > 0).any(axis=0)[5 - offset : 45 - offset]
        np.testing.assert_array_equal(changed, where)
        assert 0 < where.mean() < 0.5


def test_offsets_of_defects_are_what_the_options_say() -> None:
    """The formula again, in plain numpy, pixel by pixel."""
    shape = (20, 25, 30)
    image = lines(20.0, shape)
    found = simulate(image, shifts=1, noise="none", miscalibration=0.07)
    rngs = context("flat-fields", case="0").rng
    response, extra = make_response(rngs, 20, 30, BEAM), drift(rngs("drift", 0), 25)
    counts = 40000 * response.gain[:, None] * np.exp(-np.asarray(image.array, float) / 20)
    counts += np.einsum("ia,irj->raj", extra, response.defects) * 0.07 * 40000
    expected = -np.log(np.maximum(counts, 0.5 * response.gain[:, None]) / (response.flat[:, None] * 40000)) * 20
    np.testing.assert_allclose(found["shift00"], expected, atol=2e-4)


def test_detectors_of_shifts_are_one_detector_moved() -> None:
    """Stripes of row r in one shift are those of row r + 4 in the next but one; nothing of the other end comes in."""
    found = simulate(lines(), shifts=5, shiftstep=2, miscalibration=0, noise="none")
    stripes = [found[f"shift{index:02}"][:, 0] for index in range(5)]
    for a, b in ((0, 2), (2, 4), (1, 3)):
        np.testing.assert_allclose(stripes[a][:-4], stripes[b][4:], atol=1e-6)
        for row in range(4):  # what moved in was never in the field of view
            assert not any(np.allclose(stripes[b][row], other, atol=1e-6) for other in stripes[a])


def test_fractions_of_rows_interpolate() -> None:
    found = simulate(lines(), shifts=2, shiftstep=0.5, miscalibration=0, noise="none")
    assert not np.allclose(found["shift00"], found["shift01"])
    with pytest.raises(ValueError, match="compat: it goes with neither"):
        FlatFields(compat=True, shiftstep=0.5)


def test_independent_noise() -> None:
    found = simulate(lines(0.0, (16, 60, 30)), shifts=2, noise="independent", miscalibration=0, flatsnum=5000, speckle_size=0)
    residuals = [found[name].ravel() for name in ("clean", "shift00", "shift01")]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.corrcoef(residuals[a], residuals[b])[0, 1] == pytest.approx(0, abs=0.05)
    assert residuals[1].var() == pytest.approx(residuals[0].var(), rel=0.1)


def test_zingers_are_rare_bright_and_in_all_layers() -> None:
    options = {"shifts": 1, "miscalibration": 0.0}
    plain, found = simulate(lines(), **options), simulate(lines(), zingers=0.01, zinger_intensity=(1.0, 1.0), **options)
    hit = found["clean"] < -0.4  # log 2 is 0.69
    assert hit.mean() == pytest.approx(0.01, abs=0.005)
    np.testing.assert_array_equal(hit, found["shift00"] - (plain["shift00"] - plain["clean"]) < -0.4)


def test_blur_spreads_the_beam_and_keeps_it() -> None:
    shape = (24, 4, 40)
    spot = np.zeros(shape, np.float32)
    spot[12, :, 20] = 1
    found = simulate(make_image(spot, "zax"), shifts=0, noise="none", blur=1.5)["clean"]
    lost = 1 - np.exp(-found[:, 0].astype(float))
    assert lost.sum() == pytest.approx(1 - np.exp(-1), rel=1e-3)
    rows = np.arange(24) - 12
    assert np.sqrt((lost.sum(1) * rows**2).sum() / lost.sum()) == pytest.approx(1.5, rel=0.02)
    assert (found[:, 1] == found[:, 0]).all()


@pytest.mark.parametrize("options", [{}, {"noise": "independent", "zingers": 0.01}, {"blur": 1.0, "shiftstep": 1.5}])
def test_rows_do_not_depend_on_what_is_read_with_them(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate(lines(20.0), shifts=2, **options)
    monkeypatch.setattr("curate_tomo.counts.CHUNK_BYTES", 3 * 4 * SHAPE[1] * SHAPE[2])
    step = FlatFields(shifts=2, **options)
    before = Case("0", {"clean": lines(20.0)})
    after = step.apply(before, context("flat-fields", case="0", statistics={"maximum": 20.0}))
    for name, layer in reversed(after.images().items()):
        for row in (7, 3, 11, 0):
            np.testing.assert_array_equal(layer.array[row], whole[name][row])
        np.testing.assert_array_equal(layer.array[:, 5:7, 3], whole[name][:, 5:7, 3])


def test_samples_differ_and_repeat() -> None:
    first, again, other = (simulate(lines(5.0), case=case, shifts=1) for case in ("3", "3", "4"))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


def test_dark_pixels_have_a_logarithm() -> None:
    found = simulate(lines(1.0), I0=2, absorption=10, flatsnum=1, shifts=2)
    for values in found.values():
        assert np.isfinite(values).all()
    assert np.isfinite(simulate(lines(0.0), shifts=1)["shift00"]).all()  # a sample of nothing


def test_global_generators_are_left_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    simulate(lines(5.0), shifts=1)
    simulate(lines(5.0), shifts=1, compat=True)
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


class TestCompat:
    """What the original's data look like."""

    IMAGE = lines(30.0, (16, 12, 24))

    def test_each_layer_is_stretched_to_the_projections_range(self) -> None:
        for values in simulate(self.IMAGE, shifts=3, compat=True).values():
            assert values.min() == pytest.approx(0, abs=1e-5)
            assert values.max() == pytest.approx(30, rel=1e-6)

    def test_all_projections_have_one_noise(self) -> None:
        """Projections of a sample that is the same from all sides are equal."""
        clean = simulate(self.IMAGE, shifts=0, compat=True)["clean"]
        assert np.ptp(clean, axis=1).max() < 1e-4
        ours = simulate(self.IMAGE, shifts=0)["clean"]
        assert np.ptp(ours, axis=1).min() > 1e-3

    def test_it_is_the_original_step_by_step(self) -> None:
        """A plain transcription of what tomography papers call its pipeline: noise, 16 bits, mean flat, logarithm, stretch."""
        rngs = context("flat-fields", case="0").rng
        gain = gain_of(rngs, 16, 24, BEAM)

        def noise(x: np.ndarray) -> np.ndarray:
            counts = rngs("noise").poisson(40000 * np.exp(-x / x.max()))
            return -np.log(counts / counts.max()) * x.max()

        flat = noise(gain * 40000)
        flat = flat / flat.max()
        raw = np.stack([noise(np.exp(-self.IMAGE.array[:, a] / 30) * 40000 * flat) for a in range(12)], axis=1).astype(np.float32)
        raw = np.uint16(raw / raw.max() * 65535)
        ratio = raw / np.maximum(np.uint16(flat * 65535), 1)[:, None]
        logs = np.where(ratio > 0, -np.log(np.where(ratio > 0, ratio, 1)), 0)
        expected = (logs - logs.min()) * 30 / np.ptp(logs)
        found = simulate(self.IMAGE, shifts=0, compat=True)["clean"]
        assert np.isclose(found, expected, atol=1e-3).mean() > 0.99  # a 16-bit count may fall on either side

    def test_detectors_wrap_around(self) -> None:
        found = simulate(lines(0.0, (16, 12, 24)), shifts=2, shiftstep=4, compat=True, miscalibration=0.0)
        assert all(np.isfinite(values).all() for values in found.values())

    def test_it_keeps_its_counts_on_disk(self, tmp_path) -> None:
        step, before = FlatFields(shifts=1, compat=True), Case("0", {"clean": self.IMAGE})
        given = context("flat-fields", case="0", folder=tmp_path)
        after = step.apply(before, attrs.evolve(given, statistics=step.merge([step.measure(before, given)])))
        kept = {name: layer.array[...] for name, layer in after.images().items()}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["flat-fields.clean.npy", "flat-fields.shift00.npy"]
        for name, values in simulate(self.IMAGE, shifts=1, compat=True).items():
            np.testing.assert_array_equal(kept[name], values)


def test_it_wants_projections() -> None:
    step = FlatFields()
    assert step.statistics_scope() == CASE
    with pytest.raises(StepError, match="has the axes 'zyx', projections have 'zax'"):
        step.measure(make_case(np.zeros((3, 3, 3), np.float32), "zyx"), context())
    taken = Case("0", {"clean": lines(1.0), "shift01": lines(1.0)})
    with pytest.raises(StepError, match="has a layer 'shift01' already"):
        FlatFields(layer="clean").apply(taken, context(statistics={"maximum": 1.0}))
    with pytest.raises(ValueError, match=r"bessel: \[25, 1\] is no range"):
        FlatFields(bessel=(25, 1))


def test_a_crop_of_the_rows_is_another_detector() -> None:
    """Only the layer's own rows are simulated."""
    image = lines(4.0)
    part = Image(CropArray(image.array, (0, 0, 0), (5, 20, 30)), image.grid.crop((0, 0, 0), (5, 20, 30)))
    assert simulate(part, shifts=1)["shift00"].shape == (5, 20, 30)
