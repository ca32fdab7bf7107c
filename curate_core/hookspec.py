"""The hooks that a plugin may implement.

A plugin is an importable module named by an entry point of the group ``curate.plugins``. It states ``CURATE_HOOK_API = 1`` and
implements some of the hooks below; it must import nothing heavy. An implementation may take fewer arguments than its hook.

Example of a whole ``plugin.py``::

    from curate_core import Provider, hookimpl

    CURATE_HOOK_API = 1

    @hookimpl
    def curate_register_roi_finders():
        yield Provider("roi_finder", "hot-spots", "Boxes around local maxima.", "my_lab.rois:HotSpots")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from curate_core.providers import Provider

if TYPE_CHECKING:
    from curate_core.kinds import Outcome

PROJECT = "curate"
ENTRY_POINT_GROUP = "curate.plugins"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class RegisterHooks:
    """One hook a kind; asked once, when the plugin is loaded. Added in API 1."""

    @hookspec
    def curate_register_sources(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer sources: ``yield Provider("source", "bids", "Subjects of a BIDS tree.", "my_lab.bids:BidsSource")``."""

    @hookspec
    def curate_register_readers(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer readers: ``yield Provider("reader", "dm4", "Gatan DM4.", "my_lab.dm4:Dm4Reader", suffixes=(".dm4",))``."""

    @hookspec
    def curate_register_preprocessors(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer preprocessors: ``yield Provider("preprocessor", "denoise", "Median filter.", "my_lab.denoise:Median")``."""

    @hookspec
    def curate_register_roi_finders(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer ROI finders: ``yield Provider("roi_finder", "hot-spots", "Local maxima.", "my_lab.rois:HotSpots")``."""

    @hookspec
    def curate_register_transforms(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer transforms: ``yield Provider("transform", "blur", "Gaussian blur.", "my_lab.blur:Blur")``."""

    @hookspec
    def curate_register_filters(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer filters: ``yield Provider("filter", "sharp", "Drops blurred samples.", "my_lab.sharp:Sharp")``."""

    @hookspec
    def curate_register_writers(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer writers: ``yield Provider("writer", "webp", "WebP images.", "my_lab.webp:WebpWriter")``."""

    @hookspec
    def curate_register_engines(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer engines: ``yield Provider("engine", "ray", "Units on Ray.", "my_lab.ray:RayEngine")``."""

    @hookspec
    def curate_register_importers(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer importers: ``yield Provider("importer", "my-yaml", "The lab's YAML.", "my_lab.importer:MyYaml")``."""

    @hookspec
    def curate_register_commands(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer subcommands: ``yield Provider("command", "preview", "Show patches.", "my_lab.preview:Preview")``."""


class EventHooks:
    """What happens during a run, for progress bars, trackers and loggers; every implementation is called. Added in API 1.

    A listener that raises is reported and left out of the rest of the run; it never stops it.
    """

    @hookspec
    def curate_run_started(self, name: str, output: str, total_units: int) -> None:
        """A run begins (again); ``total_units`` units of its first round are to be done."""

    @hookspec
    def curate_round_started(self, title: str, total_units: int) -> None:
        """A round of units begins: ``title`` says what they do."""

    @hookspec
    def curate_unit_finished(self, outcome: Outcome, counts: Mapping[str, int]) -> None:
        """A unit ended; ``counts`` holds the samples found, dropped, rejected and written so far in this run."""

    @hookspec
    def curate_run_finished(self, summary: Mapping[str, Any]) -> None:
        """The run ended; ``summary`` is what ``dataset.json`` holds, or what was reached when it stopped."""
