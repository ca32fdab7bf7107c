"""Cases, layers and their sources: frozen, picklable where they travel, and clear when asked for what is not there."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import attrs
import numpy as np
import pytest

from curate_core.errors import StepError
from curate_core.grid import Grid
from curate_core.model import Case, CaseSource, Image, LayerSource, Role, Tractogram, matches


def image(shape=(2, 3)):
    return Image(np.zeros(shape, np.uint8), Grid.from_spacing(shape, "zyx"[-len(shape) :]))


def case():
    lines = Tractogram(np.zeros((0, 3), np.float32), np.zeros(0, int), np.zeros(0, int), image((1, 1, 1)).grid)
    return Case("p1", {"ct": image(), "pet": image(), "lines": lines}, {"split": "train"}, {"main": Role(["ct"], ["pet"])})


def test_an_image_fits_its_grid():
    with pytest.raises(ValueError, match=r"array of shape \(2, 3\) on a grid of shape \(3, 2\)"):
        Image(np.zeros((2, 3)), Grid.from_spacing((3, 2), "yx"))


def test_images_of_a_case():
    assert list(case().images()) == ["ct", "pet"]
    assert list(case().images(["pet"])) == ["pet"]
    assert case().image("pet") is not None
    assert case().without_layers(["pet"]).image() is not None
    with pytest.raises(StepError) as caught:
        case().image()
    assert str(caught.value) == 'case p1: the case has 2 image layers (ct, pet), the step needs to know which (name it with "layer")'
    with pytest.raises(StepError) as caught:
        Case("p1", {}).image()
    assert str(caught.value).startswith("case p1: the case has 0 image layers (none)")
    for wrong in ("mask", "lines"):
        with pytest.raises(StepError) as caught:
            case().image(wrong)
        assert str(caught.value) == f"case p1: there is no image layer {wrong!r}, only ct, pet"


def test_changed_cases_are_other_cases():
    first = case()
    second = first.with_layers({"ct": image((4, 4))}).with_attributes(center="a").without_layers(["pet"])
    assert list(first.layers) == ["ct", "pet", "lines"]
    assert first.image("ct").array.shape == (2, 3)
    assert list(second.layers) == ["ct", "lines"]
    assert second.image("ct").array.shape == (4, 4)
    assert dict(second.attributes) == {"split": "train", "center": "a"}
    assert dict(first.attributes) == {"split": "train"}
    assert second.roles["main"].targets == ("pet",)


def test_nothing_can_be_changed_in_place():
    made = case()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.id = "x"
    with pytest.raises(TypeError, match="does not support item assignment"):
        made.layers["ct"] = None
    with pytest.raises(TypeError, match="does not support item assignment"):
        made.attributes["split"] = "val"
    given = {"ct": image()}
    kept = Case("a", given)
    given["pet"] = image()
    assert list(kept.layers) == ["ct"]


def test_images_can_be_compared_and_kept_in_sets():
    """By identity: voxels are not compared by accident."""
    first, second = image(), image()
    assert first != second
    assert first == first
    assert len({first, second, first}) == 2
    assert len({case(), case()}) == 2


def test_notes_are_added():
    first = image().with_array(np.ones((2, 3)), scaled="min-max")
    second = first.with_array(np.ones((3, 3)), Grid.from_spacing((3, 3), "yx"), inverted=True)
    assert dict(first.notes) == {"scaled": "min-max"}
    assert dict(second.notes) == {"scaled": "min-max", "inverted": True}
    assert second.grid.shape == (3, 3)
    assert first.dtype == np.float64


def source():
    layers = {
        "ct": LayerSource([Path("/d/a.mrc"), Path("/d/b.mrc")], join="z", spacing=(1.0, 2.0, 3.0), unit="nm", options={"shape": [1, 2]}),
        "made": LayerSource(),
        "web": LayerSource(uri="https://example.org/x"),
    }
    return CaseSource("p1", layers, {"split": "train"}, {"main": Role(["ct"])}, Path("/d"))


def test_sources_cross_processes():
    copy = ForkingPickler.loads(ForkingPickler.dumps(source()))
    assert copy == source()
    with pytest.raises(TypeError, match="does not support item assignment"):
        copy.attributes["split"] = "val"
    with pytest.raises(TypeError, match="does not support item assignment"):
        copy.layers["ct"].options["shape"] = 1


def test_what_a_source_is_called():
    layers = source().layers
    assert layers["ct"].describe() == "/d/a.mrc and 1 more"
    assert layers["made"].describe() == "a simulated layer"
    assert layers["web"].describe() == "https://example.org/x"
    assert LayerSource([Path("/d/a.mrc")]).describe() == "/d/a.mrc"
    assert source().files() == (Path("/d/a.mrc"), Path("/d/b.mrc"))


def test_a_list_has_the_value_of_each_of_its_entries():
    assert matches("low", ("low", "half"))
    assert not matches("low", ("half",))
    assert matches(["low", "half"], ("half",))
    assert not matches(["low", "half"], {"full"})
    assert not matches([], ("low",))


def test_streamlines_are_found_by_their_offsets():
    points = np.arange(30, dtype=np.float32).reshape(10, 3)
    lines = Tractogram(points, np.array([1, 6]), np.array([3, 4]), image((1, 1, 1)).grid)
    assert len(lines) == 2
    np.testing.assert_array_equal(lines.streamline(0), points[1:4])
    np.testing.assert_array_equal(lines.streamline(1), points[6:10])
