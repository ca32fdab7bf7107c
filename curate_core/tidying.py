"""What a run does first: journal and folder are brought together, whatever stopped the run before."""

from __future__ import annotations

import shutil
from pathlib import Path

from curate_core.commit import finish, gone
from curate_core.journal import Journal
from curate_core.layout import WORK
from curate_core.parts import Parts
from curate_core.samples import DATA


def tidy(output: Path, journal: Journal, name: str, *, overwrite: bool) -> None:
    """End a commit that was begun; then what either journal or folder does not have, both forget, and leftovers go.

    Args:
        name: of the spec whose folder it is from now on.
        overwrite: forget all that was done; on disk at once, so that a run that is stopped and continued does not find it again.
    """
    if journal.pending is not None:
        finish(output, journal)
    parts = Parts(output)
    parts.clear_aside()
    shutil.rmtree(output / WORK / "commit", ignore_errors=True)
    if overwrite:
        journal.name, journal.committed = name, frozenset()
        journal.compact(())
    for key in gone(output, journal):
        del journal.parts[key]
    for key in parts.present():
        if key not in journal.parts:
            parts.remove(key)
        elif key in journal.committed and (parts.path(key) / DATA).exists():
            shutil.rmtree(parts.path(key) / DATA)  # in the dataset's files already
    journal.committed &= frozenset(journal.parts)
    if journal.name != name:
        journal.begin(name)
