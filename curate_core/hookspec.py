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
"""Marks a function of a plugin, or a method of a listener, as an implementation of the hook that has its name."""


class RegisterHooks:
    """One hook a kind; asked once, when the plugin is loaded. Added in API 1."""

    @hookspec
    def curate_register_sources(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer sources.

        Example::

            @hookimpl
            def curate_register_sources():
                yield Provider("source", "bids", "Subjects of a BIDS tree.", "my_lab.bids:BidsSource")
        """

    @hookspec
    def curate_register_readers(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer readers.

        Example::

            @hookimpl
            def curate_register_readers():
                yield Provider("reader", "dm4", "Gatan DM4.", "my_lab.dm4:Dm4Reader", suffixes=(".dm4",))
        """

    @hookspec
    def curate_register_preprocessors(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer preprocessors.

        Example::

            @hookimpl
            def curate_register_preprocessors():
                yield Provider("preprocessor", "denoise", "Median filter.", "my_lab.denoise:Median")
        """

    @hookspec
    def curate_register_roi_finders(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer ROI finders.

        Example::

            @hookimpl
            def curate_register_roi_finders():
                yield Provider("roi_finder", "hot-spots", "Local maxima.", "my_lab.rois:HotSpots")
        """

    @hookspec
    def curate_register_transforms(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer transforms.

        Example::

            @hookimpl
            def curate_register_transforms():
                yield Provider("transform", "blur", "Gaussian blur.", "my_lab.blur:Blur")
        """

    @hookspec
    def curate_register_filters(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer filters.

        Example::

            @hookimpl
            def curate_register_filters():
                yield Provider("filter", "sharp", "Drops blurred samples.", "my_lab.sharp:Sharp")
        """

    @hookspec
    def curate_register_writers(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer writers.

        Example::

            @hookimpl
            def curate_register_writers():
                yield Provider("writer", "webp", "WebP images.", "my_lab.webp:WebpWriter")
        """

    @hookspec
    def curate_register_engines(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer engines.

        Example::

            @hookimpl
            def curate_register_engines():
                yield Provider("engine", "ray", "Units on Ray.", "my_lab.ray:RayEngine")
        """

    @hookspec
    def curate_register_importers(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer importers.

        Example::

            @hookimpl
            def curate_register_importers():
                yield Provider("importer", "my-yaml", "The lab's YAML.", "my_lab.importer:MyYaml")
        """

    @hookspec
    def curate_register_commands(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Offer subcommands.

        Example::

            @hookimpl
            def curate_register_commands():
                yield Provider("command", "preview", "Show patches.", "my_lab.preview:Preview")
        """


class EventHooks:
    """What happens during a run, for progress bars, trackers and loggers; every implementation is called. Added in API 1.

    Events are told in the process that was asked for the run (``curate run``, or whoever calls :func:`curate_core.run`), in its thread, one
    after the other; never in a worker. The run waits for each listener, so a slow one hands its work to a thread of its own. A listener
    hears ``curate_run_started``, then for each round ``curate_round_started`` and a ``curate_unit_finished`` for each of its units, in the
    order in which they end, and ``curate_run_finished`` last of all, whatever ended the run but the death of its process.

    A listener is a plugin's module, or any object given to ``curate_core.run(..., listeners=[...])``; files that a spec names under
    ``plugins`` bring components only. One that raises is reported in the log ``curate`` and left out of the rest of the run, with all of
    its hooks; it never stops the run.
    """

    @hookspec
    def curate_run_started(self, name: str, output: str, total_units: int) -> None:
        """A run begins, or goes on where an earlier one stopped; its cases are known, and none of their files is read yet.

        Args:
            name: of the dataset.
            output: its folder.
            total_units: its cases, of which each is a unit of most rounds.

        Example::

            @hookimpl
            def curate_run_started(name, output, total_units):
                print(f"{name}: {total_units} cases, into {output}")
        """

    @hookspec
    def curate_round_started(self, title: str, total_units: int) -> None:
        """A round of units begins. There are as many as the spec needs, and none where nothing is left to do.

        Args:
            title: what its units do, for people.
            total_units: how many there are.

        Example::

            @hookimpl
            def curate_round_started(title, total_units):
                print(f"{title}: {total_units} to do")
        """

    @hookspec
    def curate_unit_finished(self, outcome: Outcome, counts: Mapping[str, int]) -> None:
        """A unit ended.

        Args:
            outcome: the unit and what became of it; where it failed, ``error`` says why, and its case goes to quarantine.
            counts: the samples ``found``, ``dropped``, ``rejected`` and ``written`` so far in this run.

        Example::

            @hookimpl
            def curate_unit_finished(outcome, counts):
                if outcome.status != "done":
                    print(f"{outcome.unit.label} {outcome.status}: {outcome.error}")
        """

    @hookspec
    def curate_run_finished(self, summary: Mapping[str, Any]) -> None:
        """The run ended: its dataset is complete, or it was stopped by an error or a key. A shard's part ends as well.

        Args:
            summary: what ``dataset.json`` holds, where there is a dataset now. Else ``name``, ``counts`` as in ``curate_unit_finished``,
                and ``stopped``, the reason; or, for a shard's part that was done, ``shard``.

        Example::

            @hookimpl
            def curate_run_finished(summary):
                print(f"{summary['name']}: {summary.get('stopped', 'done')}")
        """
