"""Commands that plugins bring."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from attrs import frozen

from curate_core.deprecation import tell_offer
from curate_core.errors import RequestError, nearest
from curate_core.host import Offer, default_host
from curate_core.kinds import Command


@frozen
class ForeignCommand:
    """A plugin's command, in the shape of a module of this package."""

    command: Command
    offer: Offer

    def configure(self, parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
        """Declare its arguments."""
        self.command.add_arguments(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; returns the exit code."""
        tell_offer(self.offer, "curate")
        return self.command.run(arguments)


def find(word: str, builtin: Sequence[str]) -> tuple[ForeignCommand, str]:
    """The command called ``word``, and its summary.

    Raises:
        RequestError: no plugin brings it; names the nearest of all commands.
        PluginError: the plugin that brings it is broken, or several do.
    """
    host = default_host()
    offers = host.offers("command")
    if not any(word in (o.provider.name, o.qualified) for o in offers):
        known = [*builtin, *(o.provider.name for o in offers)]
        hint = nearest(word, known)
        broken = [p.distribution for p in host.plugins if p.status == "broken"]
        if broken:
            hint += f"; or it is one of the broken {', '.join(broken)}, see curate plugins"
        message = f"there is no command {word!r}"
        raise RequestError(message, hint=hint)
    offer = host.find("command", word)
    return ForeignCommand(host.load(offer)(), offer), offer.provider.summary
