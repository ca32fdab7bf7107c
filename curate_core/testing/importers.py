"""What every importer must do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from curate_core.errors import CurateError, SpecError
from curate_core.host import default_host
from curate_core.kinds import Importer
from curate_core.model import Plain
from curate_core.spec import validate
from curate_core.testing.checks import unchanged_files
from curate_core.testing.making import make_component

FOREIGN = {"nothing": "", "prose": "this is no configuration\n" * 3, "a list": "[1, 2, 3]\n", "brackets": "{[(", "zero bytes": "\0\0\0"}
"""Texts that are no system's configuration, by what to call them."""


class ImporterTests:
    r"""An importer makes a spec that curate takes, from text alone, and refuses what is no configuration with an error.

    Example::

        class TestDataCfg(ImporterTests):
            component = DataCfg
            text = "images: scans\nsize: 64\n"

    Attributes:
        component: the class under test.
        options: its options, as flags of ``curate import`` give them.
        text: a configuration of the other system.
        needs: distributions whose components the spec names, besides the importer's own; where one is missing, the spec is not judged.
        takes_nothing: an empty text is a configuration, of nothing but defaults.
    """

    component: ClassVar[type[Importer]]
    options: ClassVar[Mapping[str, Any]] = {}
    text: ClassVar[str]
    needs: ClassVar[Sequence[str]] = ()
    takes_nothing: ClassVar[bool] = False

    def importer(self) -> Importer:
        """The component under test."""
        return make_component(self.component, self.options)

    def make_files(self, folder: Path) -> None:
        """Make what the configuration names, for importers that look at files."""

    def convert(self, folder: Path, text: str | None = None) -> dict[str, Plain]:
        """The spec from a configuration."""
        return self.importer().convert(self.text if text is None else text, folder)

    @property
    def _name(self) -> str:
        return self.component.__name__

    def test_gives_a_spec(self, tmp_path: Path) -> None:
        """Plain values, which ``curate check`` takes."""
        self.make_files(tmp_path)
        spec = self.convert(tmp_path)
        assert isinstance(spec, dict), f"{self._name}.convert gave {type(spec).__name__}, expected a dict"
        try:
            again = json.loads(json.dumps(spec, allow_nan=False))
        except (TypeError, ValueError) as error:
            message = f"{self._name}: the spec holds what JSON cannot: {error}"
            raise AssertionError(message) from error
        assert again == spec, f"{self._name}: the spec is another after it was saved (a tuple, a key that is no text?)"
        missing = sorted(set(self.needs) - {plugin.distribution for plugin in default_host().plugins})
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")
        try:
            validate(spec, default_host(), tmp_path, "the spec")
        except SpecError as error:
            message = f"{self._name} makes a spec that is wrong: {error}"
            raise AssertionError(message) from error

    def test_same_text_same_spec(self, tmp_path: Path) -> None:
        """Twice the same, in the same order."""
        self.make_files(tmp_path)
        first, second = (json.dumps(self.convert(tmp_path)) for _ in range(2))
        assert first == second, f"{self._name} makes another spec the second time"

    def test_leaves_files_alone(self, tmp_path: Path) -> None:
        """Nothing is written: ``curate import`` does that."""
        self.make_files(tmp_path)
        with unchanged_files(tmp_path, self._name):
            self.convert(tmp_path)

    def test_foreign_text_is_refused(self, tmp_path: Path) -> None:
        """What is no configuration is an error of curate's, never another exception and never a spec."""
        self.make_files(tmp_path)
        for what, text in FOREIGN.items():
            if self.takes_nothing and not text:
                continue
            try:
                spec = self.convert(tmp_path, text)
            except CurateError:
                continue
            except Exception as error:
                message = f"{self._name} given {what}: expected a RequestError, got {type(error).__name__}: {error}"
                raise AssertionError(message) from error
            message = f"{self._name} makes a spec of {what}: {json.dumps(spec)[:80]}"
            raise AssertionError(message)
