"""Files that lead to the others of a dataset, made anew at each commit by writers that want one."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate_core.errors import RequestError
from curate_core.kinds import Piece, Writer


class Indexes:
    """What the writers of a spec are told of the samples that they have written.

    Args:
        writers: of the spec, in its order.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = {number: writer for number, writer in enumerate(writers) if writer.index()}
        self._pieces: dict[int, list[Piece]] = {number: [] for number in self._writers}

    def note(self, head: str, arrays: Mapping[str, Any]) -> None:
        """One more sample, in manifest order.

        Args:
            head: the start of its row of the manifest, JSON.
            arrays: where its arrays lie, as the manifest will say.
        """
        if not self._writers:
            return
        sample = json.loads(head)
        for label, placement in arrays.items():
            number = placement.get("writer", 0)
            if number in self._writers:
                where = Path(placement["file"]), placement.get("place")
                self._pieces[number].append(Piece(*where, sample["id"], label.partition("@")[0], sample["case"], sample["attributes"]))

    def make(self, aside: Path, output: Path, files: dict[str, Any], moves: list[tuple[str, str]]) -> None:
        """Make the files aside, and add those that changed to a commit's files and moves.

        Raises:
            RequestError: the path of one is taken.
        """
        for number, writer in self._writers.items():
            name = writer.index()
            if name in files:
                message = f"two writers take the path {name}"
                raise RequestError(message, hint="give each a path of its own")
            out = aside / f"index.{number}"
            writer.make_index(out, self._pieces[number])
            files[name] = {"size": out.stat().st_size}
            if not (output / name).exists() or not filecmp.cmp(out, output / name, shallow=False):
                moves.append((out.relative_to(output).as_posix(), name))
