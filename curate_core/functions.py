"""A plain function as a component: its annotated parameters are the options, its docstring describes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_type_hints

import attrs

from curate_core.context import Context
from curate_core.kinds import RoiFinder
from curate_core.model import Case
from curate_core.options import option
from curate_core.providers import Provider
from curate_core.rois import RoiTable

Find = Callable[..., RoiTable]
_CALL = ("case", "context")


def roi_finder(name: str, *, version: int = 1) -> Callable[[Find], type[RoiFinder]]:
    """Make a ROI finder of a function ``find(case, context, ...) -> RoiTable``.

    Parameters after ``case`` and ``context`` become options: the annotation gives the type, a default makes it optional, the docstring's
    ``Args:`` describe it. In a file that a spec names under ``plugins`` that is all; in a package the function's name, which stands for
    the component afterwards, is a provider's target::

        @curate_core.roi_finder("corner")
        def corner(case, context, size: int = 64):
            stop = np.full((1, 3), size)
            return curate_core.RoiTable.boxes(stop - size, stop, "zyx")

    Args:
        name: what a spec calls it.
        version: raised when the ROIs change for the same input and options.

    Raises:
        TypeError: the function's parameters are not as told here.
    """

    def decorate(function: Find) -> type[RoiFinder]:
        parameters = list(inspect.signature(function).parameters.values())
        hints = get_type_hints(function, include_extras=True)
        where = f"{function.__module__}.{function.__qualname__}, the ROI finder {name!r}"
        if tuple(parameter.name for parameter in parameters[:2]) != _CALL:
            message = f"{where}: its first parameters must be case and context"
            raise TypeError(message)
        options = parameters[2:]
        for parameter in options:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                message = f"{where}: {parameter.name} cannot be an option; options are named one by one"
                raise TypeError(message)
            if parameter.name not in hints:
                message = f"{where}: {parameter.name} needs a type, such as {parameter.name}: int"
                raise TypeError(message)
        described = _descriptions(inspect.getdoc(function) or "")
        fields = {
            p.name: option(doc=described.get(p.name, ""), default=attrs.NOTHING if p.default is p.empty else p.default) for p in options
        }

        def find(self: Any, case: Case, context: Context) -> RoiTable:
            return function(case, context, **{p.name: getattr(self, p.name) for p in options})

        summary = (inspect.getdoc(function) or f"The function {function.__name__}.").splitlines()[0]
        annotations = {p.name: hints[p.name] for p in options}
        body = {
            **fields,
            "find": find,
            "version": version,
            "__annotations__": annotations,
            "__module__": function.__module__,
            "__qualname__": function.__qualname__,
            "__doc__": function.__doc__,
            "__curate_provider__": Provider("roi_finder", name, summary, f"{function.__module__}:{function.__qualname__}"),
        }
        made: type[RoiFinder] = attrs.frozen(type(function.__name__, (RoiFinder,), body))
        return made

    return decorate


def _descriptions(doc: str) -> dict[str, str]:
    """Parameter -> its description in the ``Args:`` of a docstring, as one line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", doc, re.MULTILINE)
    found: dict[str, list[str]] = {}
    current = ""
    for line in section[1].splitlines() if section else ():
        entry = re.match(r"\s{4}(\w+)(?: \(.*?\))?: (.*)", line)
        if entry:
            current = entry[1]
            found[current] = [entry[2]]
        elif current and line.strip():
            found[current].append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}
