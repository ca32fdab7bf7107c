"""Options of components: one declaration gives validation, documentation and JSON Schema.

A component is a frozen attrs class whose fields are its options in the spec::

    @frozen
    class Crop(Preprocessor):
        \"\"\"Cut the same box from every layer.\"\"\"

        size: tuple[int, ...] = option(doc="Voxels to keep along each axis, array order.", ge=1)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import attrs
from attrs import NOTHING, frozen

METADATA_KEY = "curate"


@frozen
class OptionInfo:
    """What an option declares besides its type and default.

    Attributes:
        doc: one sentence for people, with the unit.
        ge, gt, le, lt: bounds of the number, or of each number in a list.
        choices: the allowed words.
        min_length: the least length of a list or text.
        content: the option names a file whose content belongs to the step's key.
        template: the text may hold ``{attribute}``, filled in case by case.
        deprecated: what to write instead, and until when it works; specs that set the option are told.
        keyed: the option has a part in the result; False: it says how the work is done, and changing it repeats nothing.
    """

    doc: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] = ()
    min_length: int | None = None
    content: bool = False
    template: bool = False
    deprecated: str = ""
    keyed: bool = True

    def problem(self, value: object) -> str | None:
        """What is wrong with ``value``, or None."""
        if isinstance(value, tuple | list):
            if self.min_length is not None and len(value) < self.min_length:
                return f"needs at least {self.min_length} entries, has {len(value)}"
            for entry in value:
                problem = self.problem(entry)
                if problem is not None:
                    return problem
            return None
        if isinstance(value, str):
            if self.choices and value not in self.choices:
                return f"{value!r} is not one of {', '.join(map(repr, self.choices))}"
            if self.min_length is not None and len(value) < self.min_length:
                return "must not be empty"
            return None
        if isinstance(value, bool) or not isinstance(value, Real):  # numpy's numbers are Real as well
            return None
        for bound, holds, words in (
            (self.ge, operator.ge, "at least"),
            (self.gt, operator.gt, "greater than"),
            (self.le, operator.le, "at most"),
            (self.lt, operator.lt, "less than"),
        ):
            if bound is not None and not holds(value, bound):
                return f"{value!r} must be {words} {bound:g}"
        return None


def option(
    *,
    doc: str = "",
    default: Any = NOTHING,
    factory: Callable[[], Any] | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[str] = (),
    min_length: int | None = None,
    content: bool = False,
    template: bool = False,
    deprecated: str = "",
    keyed: bool = True,
) -> Any:
    """Declare an option of a component: an attrs field with its documentation and bounds.

    Args:
        doc: one sentence for people; name the unit. For a parameter of a function, its docstring may say it instead.
        default: the value when the spec is silent; without one the option is required.
        factory: makes the default, for values that are not plain.
        ge, gt, le, lt: bounds of a number, or of each number in a list.
        choices: the allowed words, for text options.
        min_length: the least length of a list or text.
        content: the option names a file whose content decides the result, so that its hash joins the keys.
        template: the text may hold ``{attribute}`` of the case, which components that work on one case find filled in.
        deprecated: the option goes away: what to write instead, and until when it works.
        keyed: False: the option says how the work is done, never what comes of it (tries, a limit of time, a cache), so that work
            that is done stays done when it changes.
    """
    info = OptionInfo(doc, ge, gt, le, lt, tuple(choices), min_length, content, template, deprecated, keyed)

    def validate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        problem = info.problem(value)
        if problem is not None:
            message = f"{attribute.name}: {problem}"
            raise ValueError(message)

    if factory is not None:
        return attrs.field(factory=factory, validator=validate, metadata={METADATA_KEY: info}, kw_only=True)
    return attrs.field(default=default, validator=validate, metadata={METADATA_KEY: info}, kw_only=True)


def is_declared(value: object) -> bool:
    """Whether a value is what ``option`` returns: an attrs field that no class has yet."""
    return isinstance(value, type(attrs.field()))


def info_of(attribute: attrs.Attribute[Any]) -> OptionInfo:
    """The declaration behind an attrs field; an empty one for plain fields."""
    info = attribute.metadata.get(METADATA_KEY)
    return info if isinstance(info, OptionInfo) else OptionInfo("")
