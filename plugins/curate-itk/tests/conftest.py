"""What SimpleITK leaves behind."""

from __future__ import annotations

import locale
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def same_locale() -> Iterator[None]:
    """Writing DICOM, which only tests do, leaves the process in the C locale, where every later test would read text as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)
