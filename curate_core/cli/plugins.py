"""``curate plugins``: what is installed, and whether it works."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curate_core.cli.arguments import add_plugins, host_of
from curate_core.deprecation import marked
from curate_core.providers import in_words

if TYPE_CHECKING:
    from curate_core.host import Host


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--check", action="store_true", help="import every component; exit code 1 when something does not work")
    add_plugins(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    host = host_of(arguments)
    failures = check(host) if arguments.check else {}
    if arguments.json:
        print(json.dumps(_described(host, failures), indent=2))  # noqa: T201
    else:
        _show(host, failures, arguments)
    bad = bool(failures) or any(plugin.status == "broken" for plugin in host.plugins)
    return 1 if arguments.check and bad else 0


def check(host: Host) -> dict[str, str]:
    """Qualified name of each component that cannot be imported or breaks its contract -> why."""
    from curate_core.errors import PluginError
    from curate_core.loading import SEE
    from curate_core.providers import KIND_NAMES

    failures = {}
    for kind in KIND_NAMES:
        for offer in host.offers(kind):
            try:
                host.load(offer)
            except PluginError as error:
                hint = f" ({error.hint})" if error.hint and error.hint != SEE else ""
                failures[f"{kind} {offer.qualified}"] = f"{error.message}{hint}"
    return failures


def _described(host: Host, failures: dict[str, str]) -> dict[str, Any]:
    plugins = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "status": plugin.status,
            "reason": plugin.reason,
            "components": [
                {
                    "kind": p.kind,
                    "name": p.name,
                    "summary": p.summary,
                    "suffixes": list(p.suffixes),
                    "priority": p.priority,
                    "deprecated": p.deprecated,
                }
                for p in plugin.providers
            ],
        }
        for plugin in host.plugins
    ]
    conflicts = [
        {"kind": offers[0].provider.kind, "name": offers[0].provider.name, "write": [offer.qualified for offer in offers]}
        for offers in host.conflicts()
    ]
    return {"plugins": plugins, "conflicts": conflicts, "failures": failures}


def _shown(version: str) -> str:
    """A version; of a file's hash, which stands for one, the beginning."""
    return version if len(version) < 40 else f"{version[:19]}..."


def _show(host: Host, failures: dict[str, str], arguments: argparse.Namespace) -> None:
    from rich.text import Text

    from curate_core.cli.output import BAD, GOOD, MARK, WEAK, console, table

    out = console()
    shown = [] if arguments.quiet else [provider for plugin in host.plugins for provider in plugin.providers]
    widths = [
        max((len(text) for text in column), default=0) for column in ([f"  {in_words(p.kind)}" for p in shown], [p.name for p in shown])
    ]
    colours = {"loaded": GOOD, "broken": BAD, "blocked": WEAK}
    for plugin in host.plugins:
        said = f": {plugin.reason}" if plugin.reason else ""
        state = Text(f"{plugin.status}{said}", colours[plugin.status])
        out.print(Text.assemble((plugin.distribution, "bold"), f" {_shown(plugin.version)}  ", state), soft_wrap=True)
        if plugin.providers and not arguments.quiet:
            rows = table("", "", "")
            rows.columns[0].min_width, rows.columns[1].min_width = widths  # one grid for all plugins
            for provider in plugin.providers:
                rows.add_row(
                    Text(f"  {in_words(provider.kind)}", WEAK),
                    Text(provider.name, MARK),
                    Text(marked(provider.summary, provider.deprecated)),
                )
            out.print(rows)
    for offers in host.conflicts():
        provider = offers[0].provider
        names = " or ".join(repr(offer.qualified) for offer in offers)
        out.print(Text(f"several offer the {in_words(provider.kind)} {provider.name!r}: write {names} in specs", BAD), soft_wrap=True)
    for name, reason in failures.items():
        out.print(Text(f"{name}: {reason}", BAD), soft_wrap=True)
    broken = [plugin.distribution for plugin in host.plugins if plugin.status == "broken"]
    if arguments.check and broken:
        what = "is broken, and offers" if len(broken) == 1 else "are broken, and offer"
        out.print(Text(f"{', '.join(broken)} {what} nothing.", BAD))
    elif arguments.check and not failures:
        out.print(Text("All components can be imported.", GOOD))
