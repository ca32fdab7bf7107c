"""The spec: what the user writes, validated in one pass with every mistake named."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, cast, get_type_hints

import attrs
from attrs import frozen

from curate_core.deprecation import tell
from curate_core.errors import PluginError, Problem, RequestError, SpecError, StepError, nearest
from curate_core.host import Host, Offer
from curate_core.jsonfile import MAX_BYTES, check_size, parse_json
from curate_core.kinds import Component
from curate_core.localcode import with_local_plugins
from curate_core.model import Case, CaseSource, Plain, frozen_mapping, matches
from curate_core.options import option
from curate_core.overrides import LOCAL, override
from curate_core.structure import (
    TEMPLATED_KINDS,
    Mistakes,
    check_templated,
    fill,
    names_path,
    structure,
    templated,
    text_templates,
    unstructure,
)
from curate_core.templates import PathTemplate, fill_in, outside

VERSION = 1
STEP_LISTS = {"preprocess": "preprocessor", "rois": "roi_finder", "transform": "transform", "filter": "filter", "write": "writer"}
AUTO = "auto"
Given = str | os.PathLike[str] | Mapping[str, Plain]


@frozen
class Settings:
    """The keys of a spec that are not steps."""

    version: Literal[1] = option(doc="Version of the spec's grammar.")
    name: str = option(doc="What the dataset is called.", min_length=1)
    output: Path = option(doc="Folder of the dataset, relative to the spec file.")
    seed: int = option(doc="Decides every random draw.", default=0)
    on_error: Literal["quarantine", "stop"] = option(
        doc="What a bad case or sample does: it is set aside, or it stops the run.", default="quarantine"
    )
    description: str = option(doc="For people.", default="")
    plugins: tuple[Path, ...] = option(doc="Python files that bring components; run only with --allow-local-code.", default=())


@frozen(eq=False)
class Step:
    """One step of the path: a component with its options.

    Attributes:
        kind: which contract it fulfils.
        use: the component as the spec names it.
        name: unique among the steps of its kind: ``use``, with ``#1`` for a second one.
        path: its place in the spec (``rois.0``).
        offer: who brings it; None for ``auto`` readers.
        options: as written, without ``use`` and ``when``.
        component: built from the options; None for ``auto`` readers and where options are filled in case by case.
        when: attribute -> the values that it may have; empty: always.
        templates: options that take their value from the case's attributes.
        folder: relative paths in the options start here.
    """

    kind: str
    use: str
    name: str
    path: str
    offer: Offer | None
    options: Mapping[str, Plain] = attrs.field(converter=frozen_mapping)
    component: Component | None
    cls: type[Component] | None
    when: Mapping[str, tuple[Plain, ...]]
    templates: tuple[str, ...]
    folder: Path

    def applies(self, attributes: Mapping[str, Plain]) -> bool:
        """Whether ``when`` matches; a missing attribute never does, a list does where one of its entries does."""
        return all(key in attributes and matches(attributes[key], values) for key, values in self.when.items())

    def component_for(self, case: Case | CaseSource, extra: Mapping[str, Plain] | None = None) -> Any:
        """The component for one case.

        Args:
            case: its id and attributes stand for ``"{case}"`` and ``"{attribute}"`` in options.
            extra: options of a single layer, over those of the spec.

        Raises:
            StepError: a filled-in or extra option is wrong.
        """
        if not self.templates and not extra:
            return self.component
        assert self.cls is not None
        attributes = {"case": case.id, **case.attributes}
        try:
            filled = {key: self._fill(key, value, attributes) for key, value in self.options.items()}
            return structure({**filled, **(extra or {})}, self.cls, self.folder)
        except KeyError as error:
            message = f"an option takes the attribute {error.args[0]!r}, which this case has not"
            raise StepError(message, where=self.path, hint=f"it has {', '.join(attributes) or 'none'}") from error
        except Mistakes as mistakes:
            raise StepError("; ".join(map(str, mistakes.problems())), where=self.path) from mistakes

    def _fill(self, key: str, value: Plain, attributes: Mapping[str, Plain]) -> Plain:
        if key not in self.templates:
            return value
        if not isinstance(value, str) or key not in text_templates(cast(Any, self.cls)):
            return cast(Plain, fill(value, attributes))
        for name in PathTemplate(value).fields:
            attributes[name]  # a KeyError names what is missing
        return fill_in(value, attributes, "option")

    @property
    def path_options(self) -> tuple[str, ...]:
        """Options that name files."""
        return () if self.cls is None else tuple(name for name, kind in get_type_hints(self.cls).items() if names_path(kind))

    @property
    def version(self) -> int:
        """Version of the component's output."""
        return 0 if self.cls is None else self.cls.version

    def plain(self) -> dict[str, Plain]:
        """The step with every default filled in, as a spec holds it."""
        options = dict(self.options) if self.component is None else unstructure(self.component)
        when = {"when": {key: list(values) for key, values in self.when.items()}} if self.when else {}
        return {"use": self.use, **when, **options}


@frozen(eq=False)
class Spec:
    """A validated spec.

    Attributes:
        settings: the keys that are not steps.
        source, engine: one step each.
        read: layer name or pattern -> readers, the first that applies is taken.
        preprocess, rois, transform, filter, write: the steps of the path, top to bottom.
        folder: where relative paths start.
        given: what the user wrote, overrides included.
        host: the installed plugins, and the files that the spec names.
    """

    settings: Settings
    source: Step
    read: Mapping[str, tuple[Step, ...]]
    preprocess: tuple[Step, ...]
    rois: tuple[Step, ...]
    transform: tuple[Step, ...]
    filter: tuple[Step, ...]
    write: tuple[Step, ...]
    engine: Step
    folder: Path
    given: Mapping[str, Plain] = attrs.field(converter=frozen_mapping)
    host: Host

    @property
    def name(self) -> str:
        """What the dataset is called."""
        return self.settings.name

    @property
    def seed(self) -> int:
        """Decides every random draw."""
        return self.settings.seed

    @property
    def output(self) -> Path:
        """Absolute folder of the dataset."""
        return Path(os.path.abspath(self.settings.output))

    def reader_for(self, layer: str, attributes: Mapping[str, Plain]) -> Step | None:
        """The ``read`` step of a layer: its own name first, then patterns in the order written; None: ``auto``."""
        patterns = [layer, *(p for p in self.read if p != layer and fnmatchcase(layer, p))]
        for pattern in patterns:
            for step in self.read.get(pattern, ()):
                if step.applies(attributes):
                    return None if step.use == AUTO else step
        return None

    def steps(self) -> list[Step]:
        """All steps in the order of the path."""
        readers = [step for steps in self.read.values() for step in steps]
        return [self.source, *readers, *self.preprocess, *self.rois, *self.transform, *self.filter, *self.write, self.engine]


def load(path: Given, host: Host, settings: Sequence[str] = (), folder: Path | None = None, *, local_code: bool = False) -> Spec:
    """Read and validate a spec.

    Args:
        path: a JSON file, or the spec itself as plain values.
        host: where components are looked up.
        settings: ``--set`` overrides.
        folder: where relative paths start: the file's folder, or the current one for plain values.
        local_code: Python files that the spec names may run.

    Raises:
        RequestError: there is no such file.
        SpecError: all mistakes at once.
    """
    if isinstance(path, Mapping):
        given, start, where = override(path, settings), folder or Path.cwd(), "spec"
    else:
        given, start, where = override(read_spec(Path(path)), settings), folder or Path(os.path.abspath(path)).parent, str(path)
    spec = validate(given, host, start, where, local_code=local_code)
    tell(spec.steps(), where)
    return spec


def read_spec(file: Path) -> dict[str, Plain]:
    """What a spec file holds.

    Raises:
        RequestError: there is no such file, or it cannot be read.
        SpecError: it is no JSON object.
    """
    path = str(file)
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
            check_size(max(len(content), file.stat().st_size), path)
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        message = "there is no such spec"
        raise RequestError(message, where=path) from error
    except IsADirectoryError as error:
        message = "this is a folder, a spec is a JSON file"
        raise RequestError(message, where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        message = f"the spec cannot be read: {getattr(error, 'strerror', None) or error}"
        raise RequestError(message, where=path) from error
    value = parse_json(text, path)
    if not isinstance(value, dict):
        raise SpecError([Problem("", "a spec is an object with keys such as source, rois and write")], where=path)
    return value


def validate(given: Mapping[str, Plain], host: Host, folder: Path, where: str, *, local_code: bool = False) -> Spec:
    """A spec from plain values; ``local_code`` as for ``load``.

    Raises:
        SpecError: all mistakes at once.
    """
    host = with_local_plugins(host, given.get("plugins"), folder, where, allowed=local_code)
    return _Validation(host, folder).spec(given, where)


class _Validation:
    """One pass over a spec, collecting problems."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.problems: list[Problem] = []

    def spec(self, given: Mapping[str, Any], where: str) -> Spec:
        plain_keys = [f.name for f in attrs.fields(Settings)]
        known = [*plain_keys, "source", "read", *STEP_LISTS, "engine", "$schema"]
        for key in given:
            if key not in known:
                self.problems.append(Problem(key, "unknown key", nearest(key, known)))
        settings: Settings | None = None
        if "version" in given and (type(given["version"]) is not int or given["version"] != VERSION):
            self.problems.append(Problem("version", f"this curate reads specs of version {VERSION}, not {json.dumps(given['version'])}"))
        try:
            chosen = {key: given[key] for key in plain_keys if key in given}
            settings = structure({**chosen, "version": VERSION} if "version" in chosen else chosen, Settings, self.folder)
        except Mistakes as mistakes:
            self.problems += mistakes.problems()
        source = self.step("source", given["source"], "source", Counter()) if "source" in given else None
        if "source" not in given:
            self.problems.append(Problem("source", "a spec needs a source"))
        lists = {key: self.step_list(kind, given.get(key, []), key) for key, kind in STEP_LISTS.items()}
        for key in ("rois", "write"):
            if key not in given or given[key] == []:
                self.problems.append(Problem(key, f"a spec needs at least one step under {key!r}"))
        read = self.read(given.get("read", {}))
        engine = self.step("engine", given.get("engine", LOCAL), "engine", Counter())
        if self.problems:
            raise SpecError(self.problems, where=where)
        assert settings is not None
        assert source is not None
        assert engine is not None
        return Spec(settings=settings, source=source, read=read, engine=engine, folder=self.folder, given=given, host=self.host, **lists)

    def read(self, value: Any) -> dict[str, tuple[Step, ...]]:
        if not isinstance(value, dict):
            self.problems.append(Problem("read", 'expected an object: layer name, or "*", to reader'))
            return {}
        read: dict[str, tuple[Step, ...]] = {}
        names: Counter[str] = Counter()
        for layer, entry in value.items():
            path = f"read.{layer}"
            entries = [(path, entry)] if not isinstance(entry, list) else [(f"{path}.{i}", e) for i, e in enumerate(entry)]
            if not entries:
                self.problems.append(Problem(path, "expected at least one reader"))
            steps = [self.step("reader", e, p, names) for p, e in entries]
            read[layer] = tuple(step for step in steps if step is not None)
        return read

    def step_list(self, kind: str, value: Any, key: str) -> tuple[Step, ...]:
        if not isinstance(value, list):
            hint = "put it in [ ]" if isinstance(value, dict) else ""
            self.problems.append(Problem(key, "expected a list of steps", hint))
            return ()
        names: Counter[str] = Counter()
        steps = [self.step(kind, entry, f"{key}.{i}", names) for i, entry in enumerate(value)]
        return tuple(step for step in steps if step is not None)

    def step(self, kind: str, value: Any, path: str, names: Counter[str]) -> Step | None:
        if not isinstance(value, dict):
            self.problems.append(Problem(path, 'expected a step: an object with "use"'))
            return None
        use = value.get("use")
        if not isinstance(use, str):
            hint = nearest("use", list(value)) if "use" not in value else ""
            self.problems.append(Problem(path, '"use" must name a component', hint if "did you" in hint else ""))
            return None
        when = self.when(value.get("when", {}), f"{path}.when", kind)
        options = {key: entry for key, entry in value.items() if key not in ("use", "when")}
        name = f"{use}#{names[use]}" if names[use] else use
        names[use] += 1
        if kind == "reader" and use == AUTO:
            for key in options:
                self.problems.append(Problem(f"{path}.{key}", '"auto" has no options', "name the reader instead"))
            return Step(kind, use, name, path, None, options, None, None, when, (), self.folder)
        try:
            offer = self.host.find(kind, use)
            cls = self.host.load(offer)
        except PluginError as error:
            self.problems.append(Problem(f"{path}.use", error.message, error.hint))
            return None
        templates = templated(options, cls) if kind in TEMPLATED_KINDS else ()
        component = None
        try:
            if templates:
                check_templated(options, cls, self.folder, templates)
            else:
                component = structure(options, cls, self.folder)
        except Mistakes as mistakes:
            self.problems += mistakes.problems(path)
            return None
        if kind == "writer":
            self.problems += [Problem(f"{path}.{key}", text) for key in ("path", "file") if (text := outside(getattr(component, key, "")))]
        return Step(kind, use, name, path, offer, options, component, cls, when, templates, self.folder)

    def when(self, value: Any, path: str, kind: str) -> dict[str, tuple[Plain, ...]]:
        if not isinstance(value, dict):
            self.problems.append(Problem(path, "expected an object: attribute to value, or to a list of values"))
            return {}
        if value and kind in ("source", "engine"):
            self.problems.append(Problem(path, f"a spec has one {kind}, which always applies"))
        for key, entry in value.items():
            if isinstance(entry, dict) or (isinstance(entry, list) and any(isinstance(e, dict | list) for e in entry)):
                self.problems.append(Problem(f"{path}.{key}", "expected a plain value or a list of them"))
            elif entry == []:
                self.problems.append(Problem(f"{path}.{key}", "an empty list never matches", "leave the step out"))
        return {key: tuple(entry) if isinstance(entry, list) else (entry,) for key, entry in value.items()}
