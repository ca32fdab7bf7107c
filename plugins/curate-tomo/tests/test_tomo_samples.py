"""Samples without files: the source, foams and phantoms."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from curate_tomo.foam import SphereFoam
from curate_tomo.phantom import Phantom, load_objects
from curate_tomo.project import Project
from curate_tomo.simulate import SimulateSource
from curate_tomo.volume import Projections, Volume

from curate_core import Case, LayerSource, SourceError, StepError
from curate_core.kinds import generator
from curate_core.testing import SourceTests, context, make_case

GOLDEN_FOAM = [-0.55172, -0.20777, -0.23834, 0.1213, 0.08314]


def table(foam: SphereFoam, key: object = 0) -> np.ndarray:
    """x, y, z, radius, value of each sphere."""
    objects = foam.pack(generator(key))
    return np.column_stack([objects.centres, 1 / objects.matrices[:, 0, 0], objects.values])


class TestSimulateSource(SourceTests):
    component = SimulateSource
    options: ClassVar[Mapping[str, Any]] = {"samples": 3, "start": 9}
    cases = ("9", "10", "11")
    from_files = False


def test_cases_are_numbered() -> None:
    found = list(SimulateSource(samples=3, start=5).find())
    assert [case.id for case in found] == ["5", "6", "7"]
    assert found[0].attributes == {"sample": 5}
    assert found[0].layers["clean"].files == ()
    assert [*next(iter(SimulateSource(layers=("a", "b")).find())).layers] == ["a", "b"]


def test_a_layer_is_named_once() -> None:
    with pytest.raises(ValueError, match="names a layer twice"):
        SimulateSource(layers=("a", "a"))


def test_spheres_neither_touch_nor_leave() -> None:
    rows = table(SphereFoam())
    assert len(rows) == 300
    distance = np.linalg.norm(rows[:, None, :3] - rows[None, :, :3], axis=-1)
    gap = distance - rows[:, 3] - rows[:, None, 3]
    assert gap[~np.eye(len(rows), dtype=bool)].min() >= 0
    assert (((np.abs(rows[:, :3]) + rows[:, 3:4]) ** 2).sum(1) <= 1).all()
    assert (np.abs(rows[:, :2]) <= 0.9).all()
    assert (np.abs(rows[:, 2]) <= 0.8).all()
    assert rows[:, 3].min() >= 0.01
    assert rows[:, 3].max() <= 0.25
    assert rows[:, 4].min() >= 0.01
    assert rows[:, 4].max() <= 1


def test_every_range_is_an_option() -> None:
    rows = table(SphereFoam(objects=20, radius=(0.02, 0.03), intensity=(2, 3), x=(0.1, 0.3), y=(-0.4, -0.2), z=(0.5, 0.6)))
    low, high = [0.1, -0.4, 0.5, 0.02, 2], [0.3, -0.2, 0.6, 0.03, 3]
    assert (rows >= low).all()
    assert (rows <= high).all()
    with pytest.raises(ValueError, match=r"radius: \[0.3, 0.2\] is no range"):
        SphereFoam(radius=(0.3, 0.2))


def test_spheres_without_a_place_are_counted() -> None:
    foam = SphereFoam(size=16, objects=30, radius=(0.3, 0.3), tries=50)
    image = foam.open(LayerSource(), context())
    notes = image.notes
    assert notes["objects"] + notes["unplaced"] == 30
    assert notes["unplaced"] > 10
    case = Project().apply(Case("0", {"clean": image}), context())
    assert dict(case.attributes) == {"objects": notes["objects"], "unplaced": notes["unplaced"]}
    twice = Project(layer="other").apply(case.with_layers({"other": image}), context())
    assert twice.attributes["unplaced"] == 2 * notes["unplaced"]


def test_a_sample_is_the_same_alone_and_among_a_thousand() -> None:
    alone = next(iter(SimulateSource(samples=1, start=700).find()))
    among = list(SimulateSource(samples=1000).find())[700]
    assert alone.id == among.id
    first, second = (
        SphereFoam(size=8, objects=5).open(case.layers["clean"], context("sphere-foam", case=case.id)) for case in (alone, among)
    )
    np.testing.assert_array_equal(first.array.objects.centres, second.array.objects.centres)
    other = SphereFoam(size=8, objects=5).open(LayerSource(), context("sphere-foam", case="701"))
    assert not np.array_equal(first.array.objects.centres, other.array.objects.centres)


def test_the_size_changes_no_sphere() -> None:
    np.testing.assert_array_equal(table(SphereFoam(size=64)), table(SphereFoam(size=256)))


def test_global_generators_are_left_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].copy(), np.random.get_state()[2]  # noqa: NPY002
    SphereFoam(size=8).open(LayerSource(), context()).array[...]
    after = random.getstate(), np.random.get_state()[1], np.random.get_state()[2]  # noqa: NPY002
    assert before[0] == after[0]
    assert (before[1] == after[1]).all()
    assert before[2] == after[2]


def test_the_first_sphere_of_seed_0_stays() -> None:
    """A foam that changes for its key must raise the reader's version."""
    assert table(SphereFoam())[0].round(5).tolist() == GOLDEN_FOAM
    assert SphereFoam.version == 1


def model(tmp_path: Path, *objects: object, version: object = 1) -> Path:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"version": version, "objects": list(objects)}))
    return path


BALL = {"shape": "ellipsoid", "value": 0.5, "center": [0.1, 0.2, 0.3], "semi_axes": [0.3, 0.3, 0.3]}


def test_a_phantom_is_what_its_file_lists(tmp_path: Path) -> None:
    path = model(tmp_path, BALL, {**BALL, "shape": "cuboid", "rotation": [0, 0, 45], "value": 1})
    by_option = Phantom(size=16, model=path).open(LayerSource(), context())
    by_file = Phantom(size=16).open(LayerSource((path,)), context())
    assert by_option.grid.axes == "zyx"
    np.testing.assert_array_equal(by_option.array[...], by_file.array[...])
    assert by_option.array[...].max() == pytest.approx(1.5)
    assert by_file.notes == {"objects": 2, "unplaced": 0}
    assert len(load_objects(model(tmp_path))) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": "cone"}, "objects.0.shape: 'cone' is not one of ellipsoid, gaussian, paraboloid, cuboid, cylinder"),
        ({"radius": 1}, "objects.0.radius: unknown key"),
        ({"center": [0, 0]}, r"objects.0.center: 3 finite numbers are expected, not \[0, 0\]"),
        ({"value": "1"}, "objects.0.value: one finite number is expected"),
        ({"value": True}, "objects.0.value: one finite number is expected"),
        ({"semi_axes": [1, 0, 1]}, "objects.0.semi_axes: .* must be above zero"),
    ],
)
def test_mistakes_of_a_model_name_their_place(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        load_objects(model(tmp_path, {**BALL, **change}))
    assert str(tmp_path) in caught.value.where


def test_files_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        load_objects(tmp_path / "gone.json")
    with pytest.raises(SourceError, match='a model is {"version": 1'):
        load_objects(model(tmp_path, version=2))
    with pytest.raises(SourceError, match="objects.0: an object with the keys"):
        load_objects(model(tmp_path, 7))
    with pytest.raises(SourceError, match="objects.0.semi_axes: missing"):
        load_objects(model(tmp_path, {key: BALL[key] for key in ("shape", "value", "center")}))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SourceError, match="cannot be read"):
        load_objects(tmp_path / "bad.json")
    with pytest.raises(SourceError, match="one file of objects is expected, the layer has 0 files"):
        Phantom().open(LayerSource(), context())


def test_project_needs_objects() -> None:
    with pytest.raises(StepError, match="not objects of which the shape is known"):
        Project().apply(make_case(np.zeros((4, 4, 4), np.float32), "zyx"), context())
    with pytest.raises(ValueError, match="angles: at least one"):
        Project(angles=0)


def test_project_takes_any_detector_and_keeps_the_volume_on_request() -> None:
    case = Case("0", {"foam": SphereFoam(size=16, objects=4).open(LayerSource(), context())})
    found = Project(to="scan", rows=5, columns=7, angles=(0.0, 10.0, 45.0)).apply(case, context())
    assert isinstance(found.image("foam").array, Volume)
    assert isinstance(found.image("scan").array, Projections)
    assert found.image("scan").grid.axes == "zax"
    assert found.image("scan").array.shape == (5, 3, 7)
    even = Project(angles=4, angle_range=(0, 90)).apply(case, context()).image("foam")
    assert even.notes["angles"] == [0, 30, 60, 90]
