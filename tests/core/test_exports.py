"""What `import curate_core` offers."""

import subprocess
import sys

import pytest

import curate_core


def test_every_name_is_there_and_has_a_home():
    assert all(hasattr(curate_core, name) for name in curate_core.__all__)
    assert set(curate_core._HOME_OF) == set(curate_core.__all__)
    assert len(set(curate_core.__all__)) == len(curate_core.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'curate_core' has no attribute 'Sample'"):
        _ = curate_core.Sample


def test_importing_it_loads_nothing_else():
    script = "import sys, curate_core; print(*(name for name in sys.modules if name.startswith('curate') or name in ('attr', 'numpy')))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "curate_core"
