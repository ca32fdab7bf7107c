"""Doing it: from a spec to a dataset, from wherever an earlier run stopped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from curate_core.errors import RequestError
from curate_core.host import Host, check_listener, default_host
from curate_core.model import Plain
from curate_core.running import Run
from curate_core.sharding import CommitRun, PartSummary, Shard, ShardRun
from curate_core.spec import Spec, load
from curate_core.summary import Summary


def run(
    spec: str | os.PathLike[str] | Mapping[str, Plain],
    *,
    settings: Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    append: bool = False,
    wait: bool = False,
    host: Host | None = None,
    listeners: Iterable[object] = (),
    folder: Path | None = None,
    allow_local_code: bool = False,
) -> Summary:
    """Make or complete the dataset that a spec describes.

    Args:
        spec: a JSON file, or the spec as plain values.
        settings: overrides, ``"rois.0.size=256"``.
        output: folder of the dataset instead of the spec's.
        workers: worker processes instead of the engine's; 0: the calling process.
        overwrite: forget what was done before, and replace it at commit.
        append: keep the cases that a complete dataset has, and add the spec's others.
        wait: wait for another run on the same folder.
        host: plugins; the installed ones by default.
        listeners: objects that implement event hooks.
        folder: where relative paths of a spec given as values start.
        allow_local_code: Python files that the spec names under ``plugins`` may run.

    Returns:
        what was done; ``exit_code`` is 1 when something is in quarantine.

    Raises:
        RequestError: the request is wrong; nothing was changed.
        RunError: the run had to stop; run it again to continue.
    """
    found = _loaded(spec, settings, output, workers, host, folder, allow_local_code)
    with _registered(found[1], listeners):
        return Run(*found).run(overwrite=overwrite, append=append, wait=wait)


def run_shard(
    spec: str | os.PathLike[str] | Mapping[str, Plain],
    shard: str,
    *,
    settings: Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    host: Host | None = None,
    listeners: Iterable[object] = (),
    folder: Path | None = None,
    allow_local_code: bool = False,
) -> PartSummary:
    """Do a fixed part of what can be done now, and commit nothing; others do the other parts, here or elsewhere.

    Args:
        shard: which part, ``"3/20"``.
        spec, settings, output, workers, host, listeners, folder, allow_local_code: as for ``run``.

    Returns:
        what was done; ``exit_code`` is 4 when some of the part waits for others.

    Raises:
        RequestError: the request is wrong; nothing was changed.
        RunError: the run had to stop; run it again to continue.
    """
    part = Shard.parse(shard)
    found = _loaded(spec, settings, output, workers, host, folder, allow_local_code)
    with _registered(found[1], listeners):
        return ShardRun(*found, part).work()


def commit(
    spec: str | os.PathLike[str] | Mapping[str, Plain],
    *,
    settings: Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    wait: bool = False,
    host: Host | None = None,
    listeners: Iterable[object] = (),
    folder: Path | None = None,
    allow_local_code: bool = False,
) -> Summary:
    """Close the stage that shards have completed, or, where nothing is left to do, commit the dataset.

    Args:
        spec, settings, output, wait, host, listeners, folder, allow_local_code: as for ``run``.

    Raises:
        WaitError: shards have units left to do.
        RequestError: the request is wrong; nothing was changed.
        RunError: the commit had to stop; do it again to continue.
    """
    found = _loaded(spec, settings, output, None, host, folder, allow_local_code)
    with _registered(found[1], listeners):
        return CommitRun(*found).run(overwrite=False, append=False, wait=wait)


def _loaded(
    spec: str | os.PathLike[str] | Mapping[str, Plain],
    settings: Sequence[str],
    output: str | os.PathLike[str] | None,
    workers: int | None,
    host: Host | None,
    folder: Path | None,
    allow_local_code: bool,
) -> tuple[Spec, Host]:
    changes = list(settings)
    if output is not None:
        changes.append(f"output={os.path.abspath(output)}")
    if workers is not None:
        changes.append(f"engine.workers={workers}")
    loaded = load(spec, host or default_host(), changes, folder, local_code=allow_local_code)
    return loaded, loaded.host


def complete(spec: Spec, host: Host, listeners: Iterable[object] = ()) -> Summary:
    """Make or complete the dataset of a validated spec.

    Args:
        listeners: as for ``run``.

    Raises:
        RequestError, RunError: as ``run`` does.
    """
    with _registered(host, listeners):
        return Run(spec, host).run(overwrite=False, append=False, wait=False)


@contextmanager
def _registered(host: Host, listeners: Iterable[object]) -> Iterator[None]:
    if not isinstance(listeners, Iterable):
        message = f"listeners must be a list of objects, not {type(listeners).__name__}"
        raise RequestError(message, hint="write listeners=[...]")
    added = list(listeners)
    for listener in added:
        check_listener(host.manager, listener)
    try:
        for listener in added:
            host.manager.register(listener)
        yield
    finally:
        for listener in added:
            if host.manager.is_registered(listener):
                host.manager.unregister(listener)
