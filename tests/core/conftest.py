"""The kit's fixtures for plugins made on the fly."""

from curate_core.testing.fixtures import fake_plugin, fake_site, isolated_host  # noqa: F401
