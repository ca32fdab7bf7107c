"""Plain functions as components."""

import pickle
from textwrap import dedent
from typing import ClassVar, Literal

import numpy as np
import pytest

import curate_core
from curate_core.errors import StepError
from curate_core.functions import roi_finder
from curate_core.kinds import RoiFinder
from curate_core.schema import spec_schema
from curate_core.structure import Mistakes, structure
from curate_core.testing import RoiFinderTests, values


@roi_finder("brightest", version=3)
def brightest(case, context, size: int, count: int = 2, where: Literal["any", "inside"] = "inside"):
    """Boxes around the brightest voxels.

    They may overlap.

    Args:
        size: voxels of a box
            along each axis.
        count (int): boxes a case.
    """
    image = next(iter(case.images().values()))
    array = curate_core.read(image.array)
    if min(array.shape) < size:
        raise StepError(f"the layer of {array.shape} is smaller than {size}")
    order = np.argsort(array, axis=None)[::-1][:count]
    start = np.stack(np.unravel_index(order, array.shape), 1) - size // 2
    start = np.unique(np.clip(start, 0, np.array(array.shape) - size), axis=0)
    return curate_core.RoiTable.boxes(start, start + size, image.grid.spatial_axes)


class TestBrightest(RoiFinderTests):
    component = brightest
    options: ClassVar = {"size": 4}


def test_options_come_from_the_signature():
    made = structure({"size": 5}, brightest, None)
    assert isinstance(made, RoiFinder)
    assert (made.size, made.count, made.where, made.version) == (5, 2, "inside", 3)
    assert pickle.loads(pickle.dumps(made)) == made
    for wrong, text in [({}, "option 'size' is missing"), ({"size": "5"}, 'got "5"'), ({"size": 5, "wher": 1}, "unknown option 'wher'")]:
        with pytest.raises(Mistakes, match=text):
            structure(wrong, brightest, None)


def test_in_a_spec_from_a_plugin(tmp_path, fake_plugin, isolated_host):
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "a.npy", values((9, 20, 20), "uint8"))
    code = '''
        import numpy as np
        import curate_core

        @curate_core.roi_finder("corners")
        def corners(case, context, size: int = 4):
            """The first box of each layer.

            Args:
                size: voxels along each axis.
            """
            start = np.zeros((1, 3), int)
            return curate_core.RoiTable.boxes(start, start + size, "zyx")
    '''
    plugin = """
        from curate_core import Provider, hookimpl

        CURATE_HOOK_API = 1

        @hookimpl
        def curate_register_roi_finders():
            yield Provider("roi_finder", "corners", "The first box.", "toy_corners.rois:corners")
    """
    entry = fake_plugin("toy-corners", plugin=dedent(plugin), rois=dedent(code))
    host = isolated_host(entry_points=[entry])
    spec = {
        "version": 1,
        "name": "x",
        "source": {"use": "files", "pattern": "data/{case}.npy"},
        "rois": [{"use": "corners", "size": 6}],
        "write": [{"use": "npy"}],
        "output": "out",
    }
    summary = curate_core.run(spec, folder=tmp_path, host=host, workers=0)
    assert (summary.written, summary.exit_code) == (1, 0)
    assert curate_core.Dataset(tmp_path / "out", host)[0]["image"].shape == (6, 6, 6)
    described = spec_schema(host)[0]["$defs"]["roi_finder.toy-corners:corners"]["properties"]["size"]
    assert described["description"] == "voxels along each axis."


def no_context(case, size: int): ...
def not_typed(case, context, size): ...
def open_ended(case, context, **options: int): ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (no_context, "the ROI finder 'x': its first parameters must be case and context"),
        (not_typed, "size needs a type, such as size: int"),
        (open_ended, "options cannot be an option; options are named one by one"),
    ],
)
def test_what_cannot_be_a_component(function, text):
    with pytest.raises(TypeError, match=text):
        roi_finder("x")(function)
