"""A plain function as a component: its annotated parameters are the options, its docstring describes them.

That is enough where a kind asks for one method; what needs more of them (``setup``, ``measure``, ``sniff``) is a class.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import attrs
import numpy as np

from curate_core.arrays import NDArray
from curate_core.batch import Batch
from curate_core.context import Context
from curate_core.kinds import Component, Features, Filter, Preprocessor, Reader, RoiFinder, Transform, Verdict
from curate_core.model import Case, Layer
from curate_core.options import METADATA_KEY, info_of, is_declared, option
from curate_core.providers import Provider, in_words
from curate_core.rois import RoiTable

_GOOGLE = (
    re.compile(r"^(?:Args|Arguments|Parameters): *\n((?: +.*\n|\n)+)", re.MULTILINE),
    re.compile(r"(?P<names>\w+) *(?:\(.*?\))? *: *(?P<text>.*)"),
)
_NUMPY = (
    re.compile(r"^Parameters *\n-{3,} *\n((?:.*\n)+?)(?=\S.*\n-{3,} *$|\Z)", re.MULTILINE),
    re.compile(r"(?P<names>\w+(?: *, *\w+)*) *(?::.*)?(?P<text>)$"),
)
_OTHERS = re.compile(r"^(?:Args|Arguments|Params|Parameters|Options):? *$|^[:@]param\b", re.MULTILINE)
"""Headings and marks of descriptions that have another form."""


def reader(name: str, *, suffixes: Iterable[str] = (), version: int = 1) -> Callable[[Callable[..., Layer]], type[Reader]]:
    """Make a reader of a function ``open(source, context, ...) -> Image``; options as for :func:`roi_finder`.

    Example::

        @curate_core.reader("rows", suffixes=(".rows",))
        def rows(source, context):
            (path,) = source.files
            voxels = np.loadtxt(path, dtype=np.uint8, ndmin=2)
            return curate_core.Image(voxels, curate_core.Grid.from_spacing(voxels.shape, "yx"))

    Args:
        name: what a spec calls it.
        suffixes: endings of the files that it claims, as of a ``Provider``.
        version: raised when the layer changes for the same file and options.
    """
    return _decorator(Reader, "reader", "open", name, version, suffixes)


def preprocessor(name: str, *, version: int = 1) -> Callable[[Callable[..., Case]], type[Preprocessor]]:
    """Make a preprocessor of a function ``apply(case, context, ...) -> Case``; options as for :func:`roi_finder`.

    Example::

        @curate_core.preprocessor("negative")
        def negative(case, context):
            image = case.image()
            return case.with_layers({"image": image.with_array(curate_core.MapArray(image.array, np.invert, image.dtype))})

    Args:
        name: what a spec calls it.
        version: raised when the case changes for the same input and options.
    """
    return _decorator(Preprocessor, "preprocessor", "apply", name, version)


def roi_finder(name: str, *, version: int = 1) -> Callable[[Callable[..., RoiTable]], type[RoiFinder]]:
    """Make a ROI finder of a function ``find(case, context, ...) -> RoiTable``.

    Parameters after ``case`` and ``context`` become options. The annotation gives the type and ``= 16`` the default; bounds and all else
    that an option may declare are said as in a class, ``size: int = option(default=16, ge=1)``. What it does stands in the docstring,
    under ``Args:`` or NumPy's ``Parameters``, or in ``option(doc=...)``.

    In a file that a spec names under ``plugins`` that is all; in a package the function's name, which stands for the component afterwards,
    is a provider's target.

    Example::

        @curate_core.roi_finder("corner")
        def corner(case, context, size: int = option(default=64, ge=1)):
            stop = np.full((1, 3), size)
            return curate_core.RoiTable.boxes(stop - size, stop, "zyx")

    Args:
        name: what a spec calls it.
        version: raised when the ROIs change for the same input and options.

    Raises:
        TypeError: the function's parameters are no options, or its docstring describes them in a form that is not understood.
    """
    return _decorator(RoiFinder, "roi_finder", "find", name, version)


def transform(name: str, *, version: int = 1) -> Callable[[Callable[..., Batch]], type[Transform]]:
    """Make a transform of a function ``apply(batch, context, ...) -> Batch``, one sample for each; options as for :func:`roi_finder`.

    Example::

        @curate_core.transform("halve")
        def halve(batch, context):
            return batch.with_array("image", batch.array() // 2)

    Args:
        name: what a spec calls it.
        version: raised when the samples change for the same input and options.
    """
    return _decorator(Transform, "transform", "apply", name, version)


def filter(name: str, *, version: int = 1) -> Callable[[Callable[..., NDArray | Verdict]], type[Filter]]:
    """Make a filter of a function ``judge(batch, context, ...) -> mask``; options as for :func:`roi_finder`.

    The mask, (n,) bool, says which samples of the batch stay. Each is judged by itself: the same in any batch. A function that gives a
    ``Verdict`` adds scores to those of its samples. Filters that judge samples by each other are classes.

    Example::

        @curate_core.filter("bright")
        def bright(batch, context, least: float = 20.0):
            means = np.array([sample.mean() for sample in batch.array()])
            return curate_core.Verdict(means >= least, score=means)

    Args:
        name: what a spec calls it.
        version: raised when the verdict changes for the same sample and options.
    """
    return _decorator(_Judge, "filter", "judge", name, version)


class _Judge(Filter):
    """A filter over single samples that knows its verdict as soon as it sees them."""

    @abstractmethod
    def judge(self, batch: Batch, context: Context) -> NDArray | Verdict:
        """Which samples of a batch stay."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        judged = self.judge(batch, context)
        verdict = judged if isinstance(judged, Verdict) else Verdict(judged)
        keep = np.asarray(verdict.keep)
        if keep.dtype != bool or keep.shape != (len(batch),):
            message = (
                f"it must say of each sample whether it stays: {len(batch)} times True or False, not {keep.dtype} of shape {keep.shape}"
            )
            raise TypeError(message)
        if verdict.because is not None:
            message = "samples are judged by themselves here, never because of another: that takes a class"
            raise TypeError(message)
        return {"keep": keep} if verdict.score is None else {"keep": keep, "score": np.asarray(verdict.score)}

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(features.columns["keep"], features.columns.get("score"))


def _decorator(
    base: Any, kind: str, method: str, name: str, version: int, suffixes: Iterable[str] = ()
) -> Callable[[Callable[..., Any]], type[Any]]:
    """What makes a component of a function.

    Args:
        base: of the component's class.
        kind: which contract it fulfils.
        method: the abstract method of ``base`` that the function becomes.
        name, version, suffixes: of the component.

    Raises:
        TypeError: the function's parameters cannot be options, or its docstring describes them in a way that is not understood.
    """
    if not isinstance(name, str):
        called = getattr(name, "__name__", "my_name").replace("_", "-")
        message = f"the decorator {kind} stands without a name; write @curate_core.{kind}({called!r})"
        raise TypeError(message)

    def decorate(function: Callable[..., Any]) -> type[Any]:
        where = f"{function.__qualname__}, the {in_words(kind)} {name!r}"
        given = [parameter for parameter in inspect.signature(getattr(base, method)).parameters if parameter != "self"]
        parameters = list(inspect.signature(function).parameters.values())
        hints = get_type_hints(function, include_extras=True)
        if [parameter.name for parameter in parameters[: len(given)]] != given:
            message = f"{where}: its first parameters must be {' and '.join(given)}"
            raise TypeError(message)
        options = {parameter.name: parameter for parameter in parameters[len(given) :]}
        for option_name, parameter in options.items():
            problem = _problem(parameter, hints.get(option_name), base)
            if problem:
                message = f"{where}: {option_name} {problem}"
                raise TypeError(message)
        doc = inspect.getdoc(function) or ""
        described = _descriptions(doc)
        untold = [name for name, parameter in options.items() if not (described.get(name) or info_of(_field(parameter.default)).doc)]
        if untold and not described and _OTHERS.search(doc):
            message = (
                f"{where}: its docstring describes no parameter in a way that is understood; write Args: and below it, indented, size: ..."
            )
            raise TypeError(message)

        def work(self: Any, *values: Any) -> Any:
            return function(*values, **{option_name: getattr(self, option_name) for option_name in options})

        summary = doc.splitlines()[0] if doc else f"The function {function.__name__}."
        body = {
            **{option_name: _field(parameter.default) for option_name, parameter in options.items()},
            method: work,
            "version": version,
            "__annotations__": {option_name: hints[option_name] for option_name in options},
            "__module__": function.__module__,
            "__qualname__": function.__qualname__,
            "__doc__": function.__doc__,
            "__curate_provider__": Provider(kind, name, summary, f"{function.__module__}:{function.__qualname__}", suffixes),
        }
        made: type[Any] = attrs.frozen(type(function.__name__, (base,), body), field_transformer=partial(_documented, described))
        return made

    return decorate


def _problem(parameter: inspect.Parameter, kind: Any, base: type[Component]) -> str:
    """Why a parameter cannot be an option; empty when it can."""
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        return "cannot be an option; options are named one by one"
    if kind is None:
        return f"needs a type, such as {name}: int"
    if _annotated(kind):
        return f"has an Annotated type, of which the annotation would be lost; write {name}: int = option(ge=1)"
    if hasattr(base, name):
        return "cannot be an option: a method of every such component is called that; give it another name"
    return ""


def _annotated(kind: Any) -> bool:
    return get_origin(kind) is Annotated or any(_annotated(argument) for argument in get_args(kind))


def _field(default: Any) -> Any:
    """What a parameter's default declares."""
    if is_declared(default):
        return default
    return option(default=attrs.NOTHING if default is inspect.Parameter.empty else default)


def _documented(described: Mapping[str, str], cls: type[Any], fields: list[Any]) -> list[Any]:
    """The fields of a class, those without a sentence of their own with that of the docstring."""

    def documented(field: Any) -> Any:
        info = info_of(field)
        changed = attrs.evolve(info, doc=info.doc or described.get(field.name, ""))
        return field.evolve(metadata={**field.metadata, METADATA_KEY: changed})

    return [documented(field) for field in fields]


def _descriptions(doc: str) -> dict[str, str]:
    """Parameter -> its description in a docstring, as one line: of ``Args:`` with any indentation, or of NumPy's ``Parameters``."""
    found: dict[str, list[str]] = {}
    for section, entry in (_GOOGLE, _NUMPY):
        match = section.search(f"{doc}\n")
        current: list[str] = []
        for line in textwrap.dedent(match[1]).splitlines() if match else ():
            begins = entry.match(line)
            if begins:
                current = [begins["text"]]
                found |= dict.fromkeys(re.split(r" *, *", begins["names"]), current)
            else:
                current.append(line.strip())
    return {name: " ".join(" ".join(lines).split()) for name, lines in found.items()}
