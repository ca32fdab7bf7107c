"""The library of faults, compiled once, and a laboratory that uses it."""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # the tests here share modules, and are no package


@pytest.fixture(autouse=True)
def signals_count():
    """Ctrl-C and hanging up count for what tests start, also where these run behind nohup or in the background of a shell."""
    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items() if signal.getsignal(number) == signal.SIG_IGN}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def faults_library(tmp_path_factory):
    """The library that makes faults, for ``LD_PRELOAD``."""
    import faults

    if sys.platform != "linux":
        pytest.skip("faults are made with LD_PRELOAD and /proc, as Linux has them")
    if faults.compiler() is None:
        pytest.skip("no C compiler (cc, gcc, clang) to compile faults.c with")
    return faults.build(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def laboratory(faults_library):
    """Sources, and a process that starts runs at once; in memory where there is room, as syncs wait for a whole disk."""
    import crashes

    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="curate-crashes-", dir=where))
    found = crashes.Laboratory(folder, faults_library)
    yield found
    found.close()
    shutil.rmtree(folder)
