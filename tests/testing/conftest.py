"""Makes the helper ``kit_toys`` importable and the kit's fixtures known."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from curate_core.testing.fixtures import *  # noqa: F403
