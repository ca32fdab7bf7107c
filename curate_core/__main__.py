"""``python -m curate_core`` is ``curate``."""

import sys

from curate_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
