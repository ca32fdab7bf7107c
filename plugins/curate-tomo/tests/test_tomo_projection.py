"""Projections and voxels against truth from elsewhere: closed forms written down again, numerical integration, conservation of mass."""

import itertools

import numpy as np
import pytest
from curate_tomo.foam import SphereFoam
from curate_tomo.geometry import Detector
from curate_tomo.objects import SHAPES, Objects, turned
from curate_tomo.volume import Projections, Volume
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from curate_core.kinds import generator

USUAL = (0.0, 179.9)
FIVE = np.array(  # x, y, z, radius, value; a large one, a small one, one near the edge of the field, two that overlap
    [
        [0.0, 0.0, 0.0, 0.5, 1.0],
        [0.62, -0.31, 0.2, 0.05, 0.7],
        [-0.8, 0.1, -0.5, 0.15, 0.2],
        [0.1, 0.55, 0.6, 0.2, 0.9],
        [0.15, 0.5, 0.55, 0.2, 0.5],
    ]
)


def usual(size: int) -> Detector:
    return Detector.usual(size, None, None, None, USUAL)


def spheres(rows: np.ndarray) -> Objects:
    return Objects.spheres(rows[:, :3], rows[:, 3], rows[:, 4])


def one(shape: str, centre=(0.1, -0.2, 0.05), axes=(0.5, 0.3, 0.4), rotation=(25.0, 40.0, -70.0), value=0.8) -> Objects:
    return Objects([SHAPES.index(shape)], [value], [centre], [turned(axes, rotation)])


def density(
    shape: str, points: np.ndarray, centre=(0.1, -0.2, 0.05), axes=(0.5, 0.3, 0.4), rotation=(25.0, 40.0, -70.0), value=0.8
) -> np.ndarray:
    """The object's value at points (..., 3), by scipy's rotations."""
    flat = (points - np.array(centre)).reshape(-1, 3)
    u = Rotation.from_euler("xyz", rotation, degrees=True).inv().apply(flat).reshape(points.shape) / np.array(axes)
    q = (u**2).sum(-1)
    return (
        value
        * {
            "ellipsoid": (q <= 1).astype(float),
            "gaussian": np.exp(-4 * np.log(2) * q),
            "paraboloid": np.maximum(1 - q, 0),
            "cuboid": (np.abs(u).max(-1) <= 1).astype(float),
            "cylinder": ((u[..., :2] ** 2).sum(-1) <= 1) * (np.abs(u[..., 2]) <= 1).astype(float),
        }[shape]
    )


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_usual_detector(size: int) -> None:
    scan = usual(size)
    assert scan.shape == {64: (64, 100, 90), 128: (128, 201, 181), 256: (256, 402, 362)}[size]
    assert scan.angles[0] == 0
    assert scan.angles[-1] == pytest.approx(179.9)
    h, v = scan.columns, scan.rows
    np.testing.assert_allclose(scan.s, [h / (size + 1) * (2 * j / (h - 1) - 1) for j in range(h)], atol=1e-15)
    np.testing.assert_allclose(scan.t, [v / (size + 1) * (2 * k / (v - 1) - 1) for k in range(v)], atol=1e-15)


@pytest.mark.parametrize("size", [64, 128, pytest.param(256, marks=pytest.mark.slow)])
def test_five_spheres_have_their_closed_form(size: int) -> None:
    scan = usual(size)
    found = Projections(spheres(FIVE), scan)[...]
    expected = np.zeros(scan.shape)
    a, h = np.deg2rad(scan.angles)[None, :, None], 2 / size
    for x, y, z, r, value in FIVE:
        s0 = (x + h / 2) * np.sin(a) + (y + h / 2) * np.cos(a)
        expected += value * size * np.sqrt(np.maximum(0, r**2 - (scan.s - s0) ** 2 - (scan.t[:, None, None] - (z + h / 2)) ** 2))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 3e-7 * expected.max()  # rims included: what float32 adds up, no more


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_against_integration_along_the_line(shape: str) -> None:
    size = 32
    scan = Detector(size, 9, 11, [0.0, 17.0, 90.0, 133.3, 250.0])
    found = Projections(one(shape), scan)[...]
    tau = np.linspace(-1.6, 1.6, 20001)
    for k, a, j in itertools.product(range(9), range(5), range(11)):
        angle = np.deg2rad(scan.angles[a])
        across, along = np.array([np.sin(angle), np.cos(angle), 0]), np.array([np.cos(angle), -np.sin(angle), 0])
        start = scan.s[j] * across + np.array([0, 0, scan.t[k]]) - 1 / size  # the rotation axis lies half a voxel beside the origin
        values = density(shape, start + tau[:, None] * along)
        integral = values.sum() * (tau[1] - tau[0]) * size / 2
        assert found[k, a, j] == pytest.approx(integral, abs=0.008)
    assert found.max() > 1


@pytest.mark.parametrize("shape", SHAPES)
def test_voxels_are_the_values_at_their_points(shape: str) -> None:
    size = 24
    g = -1 + 2 * np.arange(size) / size
    z, y, x = np.meshgrid(g, g, g, indexing="ij")
    found = Volume(one(shape), size)[...]
    np.testing.assert_allclose(found, density(shape, np.stack([x, y, z], -1)), atol=1e-7)
    assert found.max() > 0.3


@pytest.mark.parametrize("shape", ["gaussian", "paraboloid"])
def test_projections_are_sums_through_the_voxel_volume(shape: str) -> None:
    """Interpolation between voxels is good where values change gently."""
    size = 64
    scan, objects = usual(size), one(shape)
    volume, found = Volume(objects, size)[...], Projections(objects, scan)
    top = found[...].max()
    steps = np.arange(-1.5, 1.5, 1 / size)
    for a in (0, 13, 50, 77):
        angle = np.deg2rad(scan.angles[a])
        s, tau = np.meshgrid(scan.s, steps, indexing="ij")
        x, y = s * np.sin(angle) + tau * np.cos(angle), s * np.cos(angle) - tau * np.sin(angle)
        places = [(p - 1 / size + 1) * size / 2 for p in (y, x)]
        for k in (20, 33, 45):
            height = (scan.t[k] - 1 / size + 1) * size / 2
            line = map_coordinates(volume, [np.full(s.shape, height), *places], order=1).sum(1) / 2
            np.testing.assert_allclose(found[k, a], line, atol=0.005 * top)


def test_sharp_objects_through_voxels_on_average() -> None:
    size = 128
    objects, scan = SphereFoam(size=size).pack(generator("foam")), usual(size)
    volume = Volume(objects, size)[...]
    places = -1 + 2 * np.arange(size) / size + 1 / size
    for angle, axis in ((0.0, 2), (90.0, 1)):
        found = Projections(objects, Detector(size, size, scan.columns, [angle]))[:, 0]
        line = volume.sum(axis)
        exact = np.stack([np.interp(places, scan.s, row) for row in found])
        assert np.abs(line - exact).mean() < 0.05 * exact.mean()  # a voxel at a rim is in or out
        assert line.mean() == pytest.approx(exact.mean(), rel=2e-3)


def test_every_angle_sees_the_same_mass() -> None:
    size = 128
    scan = usual(size)
    objects = SphereFoam(size=size, radius=(0.05, 0.25)).pack(generator("foam"))  # smaller ones fall between pixels
    found = Projections(objects, scan)[...].astype(float)
    h, v = scan.columns, scan.rows
    pixel = 2 * h / (size + 1) / (h - 1) * 2 * v / (size + 1) / (v - 1)
    mass = found.sum((0, 2)) * pixel / (size / 2)
    radii = 1 / objects.matrices[:, 0, 0]
    assert np.ptp(mass) < 2e-3 * mass.mean()
    assert mass.std() < 3e-4 * mass.mean()
    assert mass.mean() == pytest.approx((objects.values * 4 / 3 * np.pi * radii**3).sum(), rel=1e-3)


def test_half_a_turn_mirrors() -> None:
    scan = Detector(48, 48, 67, [31.0, 211.0])
    found = Projections(spheres(FIVE + [1 / -48, 1 / -48, 0, 0, 0]), scan)[...]  # centred on the rotation axis
    np.testing.assert_allclose(found[:, 0], found[:, 1, ::-1], atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_any_box_equals_the_whole(shape: str) -> None:
    scan = Detector.usual(20, 17, 31, [3.0, 91.0, 44.0, 270.0], USUAL)
    for array in (Projections(one(shape), scan), Volume(one(shape), 20)):
        whole = array[...]
        for where in [np.s_[3:4], np.s_[:, 1:2, 5:9], np.s_[4:6, 2:4, 30:31], np.s_[0:0], np.s_[..., 7], np.s_[10, 1, 2]]:
            np.testing.assert_array_equal(array[where], whole[where])


def test_views_are_axis_orders() -> None:
    from curate_core.arrays import TransposeArray, read

    sinograms = Projections(spheres(FIVE), usual(16))
    projections, tangentograms = TransposeArray(sinograms, (1, 0, 2)), TransposeArray(sinograms, (2, 0, 1))
    whole = read(sinograms)
    np.testing.assert_array_equal(projections[3], whole[:, 3])
    np.testing.assert_array_equal(tangentograms[5], whole[:, :, 5])


def test_a_detector_of_one_pixel_and_a_sample_of_nothing() -> None:
    scan = Detector(16, 1, 1, [0.0])
    assert Projections(spheres(FIVE[:1]), scan)[...] == pytest.approx(16 * np.sqrt(0.25 - 2 / 16**2), rel=1e-6)
    assert not Projections(spheres(FIVE[:0]), usual(16))[...].any()
    assert not Volume(spheres(FIVE[:0]), 16)[...].any()


def test_the_grid_says_where_pixels_lie() -> None:
    scan = usual(64)
    grid = scan.grid()
    corner = grid.world(np.array([[3, 7]]))[0]
    assert corner == pytest.approx([scan.s[7], 0, scan.t[3]])
