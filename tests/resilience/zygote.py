"""Starts runs at once: ``curate`` is imported here, and each run is a process forked from this one, in a session of its own.

Reads a line of JSON for each run (``words``, ``cwd``, ``control``, ``output``, ``seconds``, ``group``: lines that the journal
gathers before it syncs) and answers with its exit status.
"""

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress

import numpy as np

import curate_core.builtin.npy
import curate_core.cli.progress
import curate_core.cli.run
import curate_core.journal
import curate_core.runner
from curate_core.cli.main import main
from curate_core.host import default_host


def serve() -> None:
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    host = default_host()
    assert host.plugins
    with suppress(ImportError):
        _compile()
    for module in ("h5py", "tifffile", "PIL.Image"):
        with suppress(ImportError):
            __import__(module)
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            _run(library, **request)
        _, status = os.waitpid(process, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


def _compile() -> None:
    """What numba would compile, or fetch, in every run anew."""
    from curate_em.greedy import remove_near
    from curate_em.hashing import difference_hashes

    hashes = difference_hashes(np.zeros((2, 8, 8), np.uint8), 4, None)
    remove_near(hashes, 2, np.arange(2), 0)


def _run(library: ctypes.CDLL, words: list[str], cwd: str, control: str | None, output: str, seconds: int, group: int) -> None:
    os.setsid()
    signal.alarm(seconds)  # what hangs ends here, by another signal than that of the faults
    out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(cwd)
    curate_core.journal.GROUP_LINES = group
    code = 99
    if control is not None:
        os.environ["CURATE_FAULTS"] = control  # the workers' too
        assert library.faults_arm(control.encode()) == 0
    try:
        code = main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
