"""The kit's fixtures."""

from curate_core.testing.fixtures import fake_plugin, fake_site, isolated_host  # noqa: F401
