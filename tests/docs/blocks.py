"""Code blocks of Markdown pages."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from attrs import frozen

FENCE = re.compile(r"^(`{3,})(\w*)[^\n]*\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^|\n\n)((?:    [^\n]*\n)+)")
NAMED = re.compile(r"`([\w./-]+\.\w+)`[:,]?$")


@frozen
class Block:
    """A block of code.

    Attributes:
        page: its file.
        line: where it begins.
        language: what stands behind the fence; ``text`` where nothing does.
        text: what it holds.
        file: name of the file that the words before it say it is, or empty.
    """

    page: Path
    line: int
    language: str
    text: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order. A paragraph that ends in ```name.json`:`` names the file that follows."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        named = NAMED.search(before)
        found.append((match.start(), Block(page, line(text, match.start()), match[2] or "text", match[3], named[1] if named else "")))
    rest = FENCE.sub(lambda m: re.sub(r"[^\n]", "x", m[0]), text)
    for match in INDENTED.finditer(rest):
        found.append((match.start(1), Block(page, line(text, match.start(1)), "indented", textwrap.dedent(match[1]))))
    return [block for _, block in sorted(found, key=lambda pair: pair[0])]


def line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def commands(block: Block) -> list[tuple[str, str]]:
    """(command, what it shows) of a block of console lines; lines that a backslash ends go on."""
    text = block.text.replace("\\\n", " ")
    if "$ " not in text:
        return [(row.strip(), "") for row in text.splitlines() if row.strip()]
    found: list[tuple[str, str]] = []
    for row in text.splitlines():
        if row.startswith("$ "):
            found.append((row[2:], ""))
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]}{row}\n")
    return found
