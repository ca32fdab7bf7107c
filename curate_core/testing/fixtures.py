"""Pytest fixtures for plugin authors: ``awkward_image``, ``fake_plugin``, ``fake_site``, ``isolated_host``.

They come by name in a test module, or a ``conftest.py``, that says::

    from curate_core.testing.fixtures import *

pytest allows ``pytest_plugins = ["curate_core.testing.fixtures"]`` instead in the topmost ``conftest.py`` and in test modules alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from curate_core import __version__
from curate_core.host import CORE, EntryPoint, Host, default_host, installed_plugins
from curate_core.model import Image
from curate_core.scaffold.bounds import bounds
from curate_core.testing.making import make_image, values

__all__ = ["awkward_image", "fake_plugin", "fake_site", "isolated_host"]

THIS_CORE = (f"{CORE}{bounds(__version__)}",)
"""What a distribution that was made for this core requires."""

AWKWARD: dict[str, tuple[tuple[int, ...], str, str, tuple[float, ...] | None]] = {
    "one voxel": ((1, 1, 1), "zyx", "uint8", (1.0, 1.0, 1.0)),
    "one plane": ((1, 7, 11), "zyx", "uint16", (40.0, 4.0, 4.0)),
    "thin": ((2, 3, 257), "zyx", "int16", (0.5, 0.25, 0.125)),
    "section": ((13, 17), "yx", "uint8", (0.3, 0.2)),
    "big-endian": ((3, 5, 7), "zyx", ">u2", (3.0, 2.0, 1.0)),
    "big-endian float": ((3, 5, 7), "zyx", ">f4", None),
    "signed bytes": ((3, 5, 7), "zyx", "int8", (1e-3, 1e3, 1.0)),
    "floats": ((4, 3, 2), "zyx", "float32", (1 / 3, 2 / 3, 1.0)),
    "channels last": ((3, 5, 7, 3), "zyxc", "uint8", (2.0, 1.0, 1.0)),
    "channels first": ((2, 9, 5), "cyx", "uint8", (1.0, 1.5)),
    "film": ((6, 8, 10), "tyx", "uint8", (1.0, 1.0)),
    "other order": ((4, 5, 6), "xyz", "uint8", (1.0, 2.0, 3.0)),
}
"""Shape, axes, dtype and spacing of small images that break careless code, by what is awkward about them."""


def awkward(what: str) -> Image:
    """One of the ``AWKWARD`` images."""
    shape, axes, dtype, spacing = AWKWARD[what]
    return make_image(values(shape, dtype, what), axes, spacing)


@pytest.fixture(params=sorted(AWKWARD))
def awkward_image(request: pytest.FixtureRequest) -> Image:
    """Small images of awkward shapes, dtypes, byte orders, axes and spacings, one a test."""
    return awkward(request.param)


def write_package(folder: Path, name: str, **modules: str) -> Path:
    """A package on the fly.

    Args:
        folder: where to; must be on ``sys.path`` for it to be imported.
        name: of the package.
        modules: module name -> source text (``plugin="..."``).
    """
    package = folder / name
    package.mkdir(parents=True)
    for module, text in {"__init__": "", **modules}.items():
        (package / f"{module}.py").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
    return package


def write_distribution(
    folder: Path, name: str, entry_points: dict[str, str], version: str = "1.0", requires: Sequence[str] = THIS_CORE
) -> Path:
    """Metadata of a distribution, as pip leaves it: found by ``importlib.metadata`` when ``folder`` is on ``sys.path``.

    Args:
        folder: where to.
        name: of the distribution.
        entry_points: name -> module, in the group ``curate.plugins``.
        version: of the distribution.
        requires: other distributions that it needs, with their versions; by default this core.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
    (info / "METADATA").write_text("\n".join([*head, ""]), encoding="utf-8")
    lines = [f"{key} = {module}" for key, module in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[curate.plugins]", *lines, ""]), encoding="utf-8")
    importlib.invalidate_caches()
    return info


@pytest.fixture
def fake_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on ``sys.path``; modules that are imported from it are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    default_host.cache_clear()
    yield folder
    for name, module in list(sys.modules.items()):
        facts = getattr(module, "__dict__", {})  # some packages put objects there that have every attribute, such as torch.classes
        places = [facts.get("__file__") or "", *map(str, facts.get("__path__") or [])]
        if any(place.startswith(str(folder)) for place in places):
            del sys.modules[name]
    default_host.cache_clear()


@pytest.fixture
def fake_plugin(fake_site: Path) -> Callable[..., EntryPoint]:
    """Make a plugin: ``fake_plugin("curate-toy", plugin="...", rois="...")`` installs a package and its distribution for one test."""

    def make(
        distribution: str, entry: str = "toy", version: str = "1.0", requires: Sequence[str] = THIS_CORE, **modules: str
    ) -> EntryPoint:
        package = distribution.replace("-", "_")
        write_package(fake_site, package, **modules)
        write_distribution(fake_site, distribution, {entry: f"{package}.plugin"}, version, requires)
        return EntryPoint(entry, f"{package}.plugin", distribution, version)

    return make


@pytest.fixture
def isolated_host() -> Callable[..., Host]:
    """A host of the built-ins and of the named distributions alone, whatever else is installed."""

    def make(*distributions: str, entry_points: Sequence[EntryPoint] = (), **options: Any) -> Host:
        chosen = [entry for entry in installed_plugins() if entry.distribution in distributions] if distributions else []
        return Host([*chosen, *entry_points], **options)

    return make
