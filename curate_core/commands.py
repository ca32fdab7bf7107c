"""The commands that curate brings itself, for those that must know their names without the command line."""

COMMANDS = {
    "run": ("run", "make or complete the dataset that a spec describes"),
    "plan": ("plan", "what would run and why, without writing"),
    "check": ("check", "validate a spec and the geometry of its files, reading no pixels"),
    "rois": ("rois", "only find the ROIs and save them"),
    "info": ("info", "what a file or a dataset holds"),
    "why": ("why", "which reader takes a file, and why the others do not"),
    "verify": ("verify", "recompute checksums and counts of a dataset"),
    "swap": ("swap", "put cleaned copies in the place of their sources"),
    "plugins": ("plugins", "what is installed and whether it works"),
    "schema": ("schema", "the JSON Schema of specs, for editors"),
    "import": ("import_", "turn another system's configuration into a spec"),
    "new-plugin": ("new_plugin", "write a plugin package whose tests pass"),
}
"""Command -> its module in :mod:`curate_core.cli`, and one line for ``--help``."""
