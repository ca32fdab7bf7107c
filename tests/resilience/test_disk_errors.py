"""Files that come out short, errors that are a disk's and those that are not, and what a failed sync must not leave behind."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from curate_core.arrays import LazyArray
from curate_core.context import Context
from curate_core.durable import sync_below, with_need, writing
from curate_core.errors import DiskError, SourceError, StepError
from curate_core.host import default_host
from curate_core.journal import Journal, Record
from curate_core.npz import save_array

# Files that may not grow: what each writer makes of a write that fails

WRITERS = {
    "npy": {"path": "{case}/{roi}.npy"},
    "npy stack": {"use": "npy", "path": "all.npy", "stack": True},
    "tiff": {},
    "tiff deflate": {"use": "tiff", "compression": "deflate"},
    "png": {},
    "hdf5": {"compression": "none"},
    "hdf5 stack": {"use": "hdf5", "stack": True},
    "blosc2": {},
    "itk nrrd": {"use": "itk", "path": "{case}/{roi}.nrrd"},
    "itk nifti": {"use": "itk", "path": "{case}/{roi}.nii"},
    "itk metaimage": {"use": "itk", "path": "{case}/{roi}.mha"},
}
LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from curate_core.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("name", WRITERS)
def test_no_writer_leaves_short_files_behind(tmp_path, name):
    """The last bytes of a file do not fit: libraries that do not look at what their last write says would not notice."""
    options = {"use": name.split()[0], **WRITERS[name]}
    if options["use"] not in {offer.provider.name for offer in default_host().offers("writer")}:
        pytest.skip(f"no plugin brings the writer {options['use']}")
    (tmp_path / "data").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2, 150, 150), dtype=np.uint8)  # larger than what the run itself writes
    np.save(tmp_path / "data/a.npy", noise)
    spec = {
        "version": 1,
        "name": "short",
        "source": {"use": "files", "pattern": "data/{case}.npy"},
        "rois": [{"use": "grid", "size": 150, "planes": ["xy"]}],
        "write": [options],
        "output": "out",
        "engine": {"use": "local", "workers": 0, "memory": "2 GB"},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))

    def run(output, limit):
        command = [sys.executable, "-c", LIMITED, str(limit), "run", "spec.json", "--output", output]
        path = os.pathsep.join(filter(None, sys.path))
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)

    assert run("whole", 1 << 30).returncode == 0
    every = (path for path in (tmp_path / "whole").rglob("*") if path.is_file())
    whole = {path.relative_to(tmp_path / "whole"): path.read_bytes() for path in every if ".curate" not in path.parts}
    largest = max(len(content) for content in whole.values())
    assert largest > 22000
    for limit in (largest - 1, largest - 700):
        done = run(f"out{limit}", limit)
        assert done.returncode == 3, (limit, done.stdout, done.stderr)
        assert re.search("writing failed: (File too large|the file came out too short)", done.stderr), done.stderr
        assert "run again: it continues" in done.stderr
        assert "Traceback" not in done.stderr
        assert run(f"out{limit}", 1 << 30).returncode == 0
        assert all((tmp_path / f"out{limit}" / path).read_bytes() == content for path, content in whole.items())


# Whose fault an error is


def test_errors_of_a_disk_are_told_from_others(tmp_path):
    inside, outside = str(tmp_path / "a" / "b.npy"), "/elsewhere/b.npy"
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.EACCES, "Permission denied", inside),
        OSError(errno.EDQUOT, "Disk quota exceeded", outside),
        OSError("6400 requested and 4096 written"),
        OSError("Can't write data (file write failed: time = Mon, errno = 28, error message = 'No space left on device')"),
    ):
        with pytest.raises(DiskError, match="writing failed: .*run again: it continues"), writing(tmp_path):
            raise error
    for error in (
        OSError(errno.EIO, "Input/output error", outside),
        OSError(errno.ENAMETOOLONG, "File name too long", inside),
        OSError("cannot write mode F as PNG"),
        ValueError("a bug"),
        StepError("a case's fault"),
        KeyboardInterrupt(),
    ):
        with pytest.raises(type(error)) as caught, writing(tmp_path):
            raise error
        assert caught.value is error


def test_a_full_disk_is_seen_behind_a_library_s_own_error(tmp_path, monkeypatch):
    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(DiskError, match=r"writing failed: No space left on device \(\S+ .B are free there\)"), writing(tmp_path):
        raise RuntimeError("could not encode")


def test_the_need_is_told_where_room_is_missing():
    room = DiskError("writing failed: full (3 kB are free there)", where="a", hint="b")
    assert str(with_need(room, 1536)) == (
        "a: writing failed: full (3 kB are free there); the samples that are not written yet take up to 1.54 kB (b)"
    )
    failing = DiskError("writing failed: Input/output error")
    assert with_need(failing, 1536) is failing
    assert with_need(room, 0) is room


# What curate keeps for itself


def record(key):
    return Record(key, "a", "writing", None, {}, {})


@pytest.mark.parametrize("fails", ["sync", "fsync"])
def test_what_a_failed_sync_was_for_is_never_remembered(tmp_path, monkeypatch, fails):
    """A sync that is tried again may succeed although what it was for is lost."""
    import curate_core.journal as module

    failing = []

    def fail_once(real):
        def do(*arguments):
            if not failing:
                failing.append(True)
                raise OSError(errno.EIO, "Input/output error")
            return real(*arguments)

        return do

    journal = Journal(tmp_path)
    journal.begin("lab")
    journal.add_part(record("before"))
    journal.flush()
    journal.add_part(record("lost"))
    if fails == "sync":
        monkeypatch.setattr(module, "sync_below", fail_once(sync_below))
    else:
        monkeypatch.setattr(os, "fsync", fail_once(os.fsync))
    with pytest.raises(OSError, match="Input/output"):
        journal.flush()
    journal.flush()
    journal.close()
    found = set(Journal(tmp_path).parts)
    assert found == ({"before", "lost"} if fails == "fsync" else {"before"})  # the line was written; its part was synced before


# Single writes


@contextmanager
def limited():
    """Files may not grow beyond 4096 bytes; no longer than it must be, for the output of the tests may go to a file, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_arrays_that_do_not_fit_raise(tmp_path):
    """As np.save does not: it leaves the end of a small array out, and says nothing."""
    with limited(), pytest.raises(OSError, match="File too large"):
        save_array(tmp_path / "a.npy", np.zeros(4090, np.uint8))


def test_a_layer_that_does_not_fit_is_no_deadly_signal(tmp_path):
    """As it would be in a memory map."""
    context = Context("step", 0, "a", folder=tmp_path / "part")
    with limited(), pytest.raises(DiskError, match="writing failed: File too large"):
        context.materialise("layer", np.zeros((5, 40, 40), np.uint8))


def test_a_layer_that_cannot_be_read_is_no_fault_of_the_disk_it_is_written_to(tmp_path):
    class Failing(LazyArray):
        shape, dtype = (4, 4), np.dtype(np.uint8)

        def read_box(self, where):
            raise OSError(errno.EIO, "Input/output error")

    context = Context("step", 0, "a", folder=tmp_path / "part")
    with pytest.raises(SourceError, match="reading failed: Input/output error"):
        context.materialise("layer", Failing())


@pytest.mark.parametrize("array", [np.arange(12).reshape(3, 4), np.zeros((0, 3), ">f4"), np.array(3.5), np.ones((4, 5))[:, ::2].T], ids=str)
def test_saved_arrays_are_what_numpy_saves(tmp_path, array):
    save_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "numpy.npy", np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_a_write_that_takes_only_a_part_is_continued(tmp_path, monkeypatch):
    """The system takes no more than 2 GiB at once."""
    baseline = pytest.importorskip("curate_tiff.baseline")
    whole = np.arange(60, dtype=np.uint16).reshape(6, 10)
    baseline.write(tmp_path / "whole.tif", whole)
    monkeypatch.setattr(os, "writev", lambda handle, pieces: os.write(handle, b"".join(pieces)[:130]))
    baseline.write(tmp_path / "parts.tif", whole)
    assert (tmp_path / "parts.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
