"""What a plugin's hooks return: light descriptions of components, whose code is imported at first use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from attrs import frozen

KIND_NAMES = ("source", "reader", "preprocessor", "roi_finder", "transform", "filter", "writer", "engine", "importer", "command")
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
SUFFIX = re.compile(r"\.[a-z0-9]+(\.[a-z0-9]+)*/?")


def in_words(kind: str) -> str:
    """A kind as sentences have it: ``ROI finder``."""
    return kind.replace("_", " ").replace("roi", "ROI")


def one(kind: str) -> str:
    """With its article: ``a ROI finder``, ``an engine``."""
    return f"{'an' if kind[:1] in 'aeio' else 'a'} {in_words(kind)}"


def name_like(text: str) -> str:
    """The name that a component may have and that a text comes nearest to (``HotSpots`` -> ``hot-spots``); empty: there is none."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", text).lower()
    name = re.sub(r"[^a-z0-9]+", "-", parts).strip("-")
    return name if NAME.fullmatch(name) else ""


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    """A tuple; what would become a wrong one stays as it is, for ``problems`` to tell."""
    return value if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)  # type: ignore[return-value]


def _place(value: str | type[Any]) -> str:
    """Where a class is."""
    return f"{value.__module__}:{value.__qualname__}" if isinstance(value, type) else value


@frozen
class Provider:
    """One component that a plugin offers.

    Attributes:
        kind: which contract it fulfils (``reader``, ``roi_finder``, ...).
        name: what a spec calls it after ``use``: lower case, hyphens.
        summary: one line for ``curate plugins``.
        target: where the class is, ``"package.module:Class"``; imported at first use. In a file that a spec names, the class itself.
        suffixes: for readers: file endings with their dot, lower case (``.nii.gz``); a closing slash for folders (``.zarr/``).
        priority: for readers: the higher is asked first among those that claim a suffix; 50 is usual.
        deprecated: the component goes away: what to use instead, and until when it works; whoever uses it is told.
    """

    kind: str
    name: str
    summary: str
    target: str = attrs.field(converter=_place)
    suffixes: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    priority: int = 50
    deprecated: str = ""

    def problems(self) -> Sequence[str]:
        """What is wrong with the description; empty when nothing is."""
        texts = {"kind": self.kind, "name": self.name, "summary": self.summary, "target": self.target, "deprecated": self.deprecated}
        found = [f"{field} must be text, not {value!r}" for field, value in texts.items() if not isinstance(value, str)]
        if found:
            return found
        if isinstance(self.suffixes, str):
            return [f"{self.name}: suffixes must be a tuple: write suffixes=({self.suffixes!r},)"]
        if not isinstance(self.suffixes, tuple) or not all(isinstance(suffix, str) for suffix in self.suffixes):
            return [f"{self.name}: suffixes must be texts, such as ('.mrc',), not {self.suffixes!r}"]
        if self.kind not in KIND_NAMES:
            found.append(f"kind {self.kind!r} is not one of {', '.join(KIND_NAMES)}")
        if not NAME.fullmatch(self.name):
            better = name_like(self.name)
            found.append(
                f"name {self.name!r} must be lower case words joined by hyphens" + (f" (did you mean {better!r}?)" if better else "")
            )
        if not self.summary or "\n" in self.summary:
            found.append(f"{self.name}: the summary must be one line")
        if not TARGET.fullmatch(self.target):
            found.append(f"{self.name}: target {self.target!r} must look like 'package.module:Class'")
        for suffix in self.suffixes:
            if not SUFFIX.fullmatch(suffix):
                found.append(f"{self.name}: suffix {suffix!r} must be lower case and start with a dot")
        if type(self.priority) is not int:
            found.append(f"{self.name}: priority {self.priority!r} must be a whole number")
        if self.suffixes and self.kind != "reader":
            found.append(f"{self.name}: only readers claim suffixes")
        return found
