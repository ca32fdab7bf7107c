"""Plain functions as components."""

import inspect
import pickle
import re
from pathlib import Path
from textwrap import dedent
from typing import Annotated, ClassVar, Literal

import attrs
import jsonschema
import numpy as np
import pytest

import curate_core
from curate_core import functions, option
from curate_core.errors import PluginError, SourceError, StepError
from curate_core.functions import roi_finder
from curate_core.kinds import KINDS, RoiFinder
from curate_core.options import info_of
from curate_core.providers import Provider
from curate_core.schema import spec_schema
from curate_core.structure import Mistakes, structure
from curate_core.testing import FilterTests, PluginTests, PreprocessorTests, ReaderTests, RoiFinderTests, TransformTests, make_batch, values
from curate_core.testing.making import context


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


@curate_core.reader("rows", suffixes=(".rows",))
def rows(source, context, unit: Literal["nm", "um"] = "nm"):
    """Numbers in rows, the first line their number.

    Args:
        unit: of nothing yet.
    """
    (path,) = source.files
    try:
        height, *lines = path.read_text(encoding="ascii").splitlines()
        array = np.array([[int(number) for number in line.split()] for line in lines], dtype=np.uint8)
        if len(array) != int(height):
            raise ValueError(f"{len(array)} rows of {height}")
    except (OSError, ValueError, OverflowError) as error:
        raise SourceError(f"not a whole file of rows: {error}", where=str(path)) from error
    return curate_core.Image(array, curate_core.Grid.from_spacing(array.shape, "yx"))


class TestRows(ReaderTests):
    component = rows
    suffix = ".rows"
    axes = "yx"
    shape = (7, 11)
    dtypes = ("uint8",)
    spacing = (1.0, 1.0)
    keeps_spacing = False
    lazy = False
    memory_mapped = False
    sniffs = False  # that takes a class

    def make_file(self, folder, array, spacing):
        path = folder / "section.rows"
        path.write_text("\n".join([str(len(array)), *(" ".join(map(str, row)) for row in array)]) + "\n")
        return path


@curate_core.preprocessor("negative")
def negative(case, context):
    """Swap dark and bright."""
    image = case.image()
    return case.with_layers({"image": image.with_array(curate_core.MapArray(image.array, np.invert, image.dtype))})


class TestNegative(PreprocessorTests):
    component = negative


@curate_core.transform("halve")
def halve(batch, context, by: int = option(default=2, ge=1, doc="The divisor.")):
    """Divide values."""
    return batch.with_array("image", batch.array() // by)


class TestHalve(TransformTests):
    component = halve


@curate_core.filter("bright")
def bright(batch, context, least: float = option(ge=0, le=255)):
    """Keep bright samples.

    Args:
        least: the least mean.
    """
    means = np.array([sample.mean(dtype=np.float64) for sample in batch.array()])
    return curate_core.Verdict(means >= least, score=means)


class TestBright(FilterTests):
    component = bright
    options: ClassVar = {"least": 127}

    def test_it_is_the_mask(self):
        batch = self.batch()
        means = batch.array().mean(axis=(1, 2))
        verdict = self._keep(self._score(batch), batch.ids)
        np.testing.assert_array_equal(verdict.keep, means >= 127)
        np.testing.assert_allclose(verdict.score, means)
        assert 0 < verdict.keep.sum() < len(batch)


@curate_core.filter("not-blank")
def not_blank(batch, context):
    """Drop samples of one value."""
    return [sample.min() < sample.max() for sample in batch.array()]


class TestNotBlank(FilterTests):
    component = not_blank


@pytest.mark.parametrize("made", [rows, negative, brightest, halve, bright, not_blank], ids=lambda made: made.__name__)
def test_the_class_is_one_of_its_kind(made):
    provider = made.__curate_provider__
    assert issubclass(made, KINDS[provider.kind])
    assert provider.problems() == []
    assert provider.target == f"{__name__}:{made.__name__}"
    component = structure({"size": 3} if made is brightest else {"least": 3} if made is bright else {}, made, None)
    assert pickle.loads(pickle.dumps(component)) == component


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda batch: np.ones(len(batch)),
            "it must say of each sample whether it stays: 5 times True or False, not float64 of shape (5,)",
        ),
        (lambda batch: True, "5 times True or False, not bool of shape ()"),
        (lambda batch: None, "5 times True or False, not object of shape ()"),
        (lambda batch: np.ones((5, 2), bool), "not bool of shape (5, 2)"),
        (lambda batch: curate_core.Verdict(np.ones(4, bool)), "not bool of shape (4,)"),
        (lambda batch: curate_core.Verdict(np.ones(5, bool), because=np.full(5, -1)), "never because of another: that takes a class"),
    ],
)
def test_what_no_filter_says(given, message):
    @curate_core.filter("wrong")
    def judge(batch, context):
        return given(batch)

    with pytest.raises(TypeError, match=re.escape(message)):
        judge().score(make_batch(values((5, 4, 4))), context())


@roi_finder("declared")
def declared(
    case,
    context,
    size: int = option(ge=1, le=64, default=16),
    mode: str = option(choices=("fast", "slow"), default="fast"),
    table: Path = option(content=True),  # noqa: B008 - no call when it is defined, a declaration
    edges: tuple[int, ...] = option(factory=lambda: (1, 2), min_length=1, gt=0),
    tries: int = option(default=3, keyed=False, doc="How often."),
    old: bool = option(default=False, deprecated="use mode; goes in 0.4"),
    plain: float = 0.5,
    own: int = attrs.field(default=7),
):
    """Declare everything that an option can declare.

    Args:
        size: voxels.
        mode: how.
        table: a file.
        edges: in voxels.
        tries: not this one.
        old: a switch.
        plain: a share.
        own: a field.
    """


def test_parameters_declare_what_options_of_classes_do():
    infos = {field.name: info_of(field) for field in attrs.fields(declared)}
    assert {name: info.doc for name, info in infos.items()} == {
        "size": "voxels.", "mode": "how.", "table": "a file.", "edges": "in voxels.", "tries": "How often.", "old": "a switch.",
        "plain": "a share.", "own": "a field.",
    }  # fmt: skip
    assert (infos["size"].ge, infos["size"].le, infos["mode"].choices, infos["table"].content) == (1, 64, ("fast", "slow"), True)
    assert (infos["edges"].min_length, infos["edges"].gt, infos["tries"].keyed, infos["old"].deprecated[:8]) == (1, 0, False, "use mode")
    made = structure({"table": "t"}, declared, Path("/data"))
    assert (made.size, made.mode, made.table, made.edges, made.plain, made.own) == (16, "fast", Path("/data/t"), (1, 2), 0.5, 7)
    for wrong, text in [({"size": 0}, "0 must be at least 1"), ({"mode": "x"}, "'x' is not one of"), ({"edges": []}, "at least 1 entries")]:
        with pytest.raises(Mistakes, match=text):
            structure({"table": "t", **wrong}, declared, Path("/data"))
    with pytest.raises(Mistakes, match="option 'table' is missing"):
        structure({}, declared, Path("/data"))


STYLES = {
    "four spaces": "Args:\n    size: voxels of a\n        box.\n    least (float): the mean.\n",
    "two spaces": "Args:\n  size: voxels of a\n    box.\n  least (float, optional): the mean.\n\nReturns:\n  least: not this.\n",
    "a tab": "Args:\n\tsize: voxels of a\n\t\tbox.\n\tleast: the mean.\n",
    "on the next line": "Arguments:\n    size:\n        voxels of a box.\n    least:\n        the mean.\n",
    "NumPy": "Parameters\n----------\nsize : int\n    voxels of a\n    box.\nleast : float, optional\n    the mean.\n\nReturns\n-------\nsize : int\n    no.\n",
    "NumPy without types": "Parameters\n---\nsize\n  voxels of a box.\nleast\n  the mean.\n",
}


@pytest.mark.parametrize("style", sorted(STYLES))
def test_ways_to_describe(style):
    def find(case, context, size: int, least: float = 1.0): ...

    find.__doc__ = f"Find.\n\n{STYLES[style]}"
    fields = attrs.fields(roi_finder("x")(find))
    assert [info_of(field).doc for field in fields] == ["voxels of a box.", "the mean."]


def test_a_docstring_of_another_form_loses_nothing_where_options_describe_themselves():
    def find(case, context, size: int = option(default=3, doc="Voxels.")):
        """Find.

        :param case: what to look at.
        """

    assert [info_of(field).doc for field in attrs.fields(roi_finder("x")(find))] == ["Voxels."]


def test_one_description_for_two_parameters():
    def find(case, context, low: int, high: int): ...

    find.__doc__ = "Find.\n\nParameters\n----------\nlow, high : int\n    Bounds.\n"
    assert [info_of(field).doc for field in attrs.fields(roi_finder("x")(find))] == ["Bounds.", "Bounds."]


@pytest.mark.parametrize("doc", ["Find.\n\n:param size: voxels.", "Find.\n\nArgs:\nsize: voxels.", "Find.\n\nOptions:\n  size: voxels."])
def test_descriptions_that_would_be_lost(doc):
    def find(case, context, size: int): ...

    find.__doc__ = doc
    with pytest.raises(
        TypeError, match="describes no parameter in a way that is understood; write Args: and below it, indented, size: ..."
    ):
        roi_finder("x")(find)


@pytest.mark.parametrize("kind", ["reader", "preprocessor", "roi_finder", "transform", "filter"])
def test_the_example_of_each_decorator_makes_its_kind(kind):
    doc = inspect.getdoc(getattr(functions, kind))
    code = dedent(doc.partition("Example::\n\n")[2].partition("\nArgs:")[0])
    namespace = {"curate_core": curate_core, "np": np, "option": option, "__name__": __name__}
    exec(code, namespace)
    [made] = [value for value in namespace.values() if isinstance(value, type) and issubclass(value, KINDS[kind])]
    assert made.__curate_provider__.kind == kind


FUNCTIONS = '''
import numpy as np
import curate_core
from curate_core import option

@curate_core.filter("bright")
def bright(batch, context, least: float = option(default=20, ge=0)):
    """Keep bright samples.

    Args:
        least: the least mean.
    """
    return np.array([sample.mean() >= least for sample in batch.array()])

@curate_core.reader("rows", suffixes=(".rows",))
def rows(source, context):
    """Numbers in rows."""
'''
OFFERS = """
from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1

@hookimpl
def curate_register_filters():
    yield Provider("filter", "bright", "Keeps bright samples.", "toy_functions.work:bright")

@hookimpl
def curate_register_readers():
    yield Provider("reader", "rows", "Numbers in rows.", "toy_functions.work:rows", suffixes=(".rows",))
"""


@pytest.mark.usefixtures("toy_functions")
class TestPackageOfFunctions(PluginTests):
    plugin_module = "toy_functions.plugin"
    distribution = "toy-functions"

    @pytest.fixture
    def toy_functions(self, fake_plugin, fake_site, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", str(fake_site))
        fake_plugin("toy-functions", plugin=OFFERS, work=FUNCTIONS)


@pytest.mark.parametrize(
    ("kind", "old", "new", "message"),
    [
        (
            "filter",
            '"bright", "K',
            '"brighter", "K',
            "is decorated as 'bright', and offered as 'brighter' (give it one name in both places)",
        ),
        ("reader", '(".rows",)', '(".row",)', "is decorated with the suffixes .rows, and offered with .row (write them in plugin.py)"),
        ("reader", ', suffixes=(".rows",)', "", "is decorated with the suffixes .rows, and offered with none (write them in plugin.py)"),
    ],
)
def test_what_a_package_and_a_decorator_say_must_agree(fake_plugin, isolated_host, kind, old, new, message):
    assert old in OFFERS
    refused(isolated_host, fake_plugin("toy-functions", plugin=OFFERS.replace(old, new), work=FUNCTIONS), kind, message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('".rows"', "has a decorator that cannot be (rows: suffixes must be a tuple: write suffixes=('.rows',))"),
        ("5", "has a decorator that cannot be (rows: suffixes must be texts, such as ('.mrc',), not 5)"),
    ],
)
def test_suffixes_that_a_decorator_cannot_have(fake_plugin, isolated_host, given, message):
    functions = FUNCTIONS.replace('suffixes=(".rows",)', f"suffixes={given}")
    refused(isolated_host, fake_plugin("toy-functions", plugin=OFFERS, work=functions), "reader", message)


def refused(isolated_host, entry, kind, message):
    host = isolated_host(entry_points=[entry])
    [offer] = [offer for offer in host.offers(kind) if offer.distribution == "toy-functions"]
    with pytest.raises(PluginError, match=re.escape(message)):
        host.load(offer)


def test_a_decorated_class_knows_its_provider():
    assert brightest.__curate_provider__ == Provider("roi_finder", "brightest", "Boxes around the brightest voxels.", brightest)
    assert rows.__curate_provider__.suffixes == (".rows",)


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
        def corners(case, context, size: int = curate_core.option(default=4, ge=1)):
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
    schema = spec_schema(host)[0]
    described = schema["$defs"]["roi_finder.toy-corners:corners"]["properties"]["size"]
    assert described["description"] == "voxels along each axis."
    assert described["default"] == 4
    for size, right in ((0, False), (1, True)):
        assert jsonschema.Draft202012Validator(schema).is_valid({**spec, "rois": [{"use": "corners", "size": size}]}) == right


def test_a_decorator_without_a_name():
    with pytest.raises(TypeError, match=r"the decorator roi_finder stands without a name; write @curate_core.roi_finder\('no-context'\)"):
        curate_core.roi_finder(no_context)


def no_context(case, size: int): ...
def not_typed(case, context, size): ...
def open_ended(case, context, **options: int): ...
def annotated(case, context, size: Annotated[int, "voxels"]): ...
def annotated_inside(case, context, size: tuple[Annotated[int, "voxels"], ...]): ...
def hiding(case, context, version: int = 1): ...
def hiding_itself(case, context, find: int = 1): ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (no_context, "the ROI finder 'x': its first parameters must be case and context"),
        (not_typed, "size needs a type, such as size: int"),
        (annotated, "size has an Annotated type, of which the annotation would be lost; write size: int = option"),
        (annotated_inside, "size has an Annotated type"),
        (hiding, "version cannot be an option: a method of every such component is called that; give it another name"),
        (hiding_itself, "find cannot be an option"),
        (open_ended, "options cannot be an option; options are named one by one"),
    ],
)
def test_what_cannot_be_a_component(function, text):
    with pytest.raises(TypeError, match=text):
        roi_finder("x")(function)
