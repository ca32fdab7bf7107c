"""The conformance kit: what a plugin author tests a component with (``pip install curate-core[testing]``).

One base class a kind; a plugin's first test is a subclass that says how to make what the component needs::

    class TestDm4Reader(ReaderTests):
        component = Dm4Reader
        suffix = ".dm4"

        def make_file(self, folder, array, spacing):
            path = folder / "volume.dm4"
            another_library.write(path, array, spacing)
            return path

    class TestMyLab(PluginTests):
        plugin_module = "curate_dm4.plugin"
        distribution = "curate-dm4"
        readme = Path(__file__).parents[1] / "README.md"

Class attributes state what the component can do (``memory_mapped``, ``dtypes``, ``keeps_spacing``, ...): they say what to check and what
to skip. ``from curate_core.testing.fixtures import *`` in a test module or a ``conftest.py`` brings the fixtures.
"""

from curate_core.testing.commands import CommandTests
from curate_core.testing.engines import EngineTests
from curate_core.testing.filters import FilterTests
from curate_core.testing.importers import ImporterTests
from curate_core.testing.making import context, make_batch, make_case, make_image, values
from curate_core.testing.plugins import PluginTests
from curate_core.testing.preprocessors import PreprocessorTests
from curate_core.testing.readers import ReaderTests
from curate_core.testing.roi_finders import RoiFinderTests
from curate_core.testing.running import run_spec
from curate_core.testing.sources import SourceTests
from curate_core.testing.tractograms import TractogramReaderTests
from curate_core.testing.transforms import TransformTests
from curate_core.testing.writers import WriterTests

__all__ = [
    "CommandTests", "EngineTests", "FilterTests", "ImporterTests", "PluginTests", "PreprocessorTests", "ReaderTests", "RoiFinderTests",
    "SourceTests", "TractogramReaderTests", "TransformTests", "WriterTests", "context", "make_batch", "make_case", "make_image", "run_spec",
    "values",
]  # fmt: skip
