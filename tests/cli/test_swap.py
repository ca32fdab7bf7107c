"""``curate swap``: sources are replaced whole or not at all, once, with a way back."""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from curate_core import swapping
from curate_core.cli.main import main
from curate_core.errors import RequestError
from curate_core.runner import run
from curate_core.swapping import FOLDER, finish, swap, undo

FILES = {"mouse/a.raw": 1, "mouse/b.raw": 2, "fly/a.npy": 3}


def save(path: Path, values: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, values)


class Lab:
    """Groups of .npy files and a spec that cleans them: some copies take their source's name, some another."""

    def __init__(self, folder: Path, path: str = "{group}/{image}.npy") -> None:
        self.folder, self.root, self.out = folder, folder / "images", folder / "out"
        for name, value in FILES.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            save(self.root / name, np.full((4, 5), value * 100, np.uint16))
        self.spec = {
            "version": 1,
            "name": "clean",
            "source": {"use": "files", "pattern": "{group}/{image}.{ext}", "root": str(self.root)},
            "read": {"*": {"use": "npy"}},
            "preprocess": [{"use": "to-uint8", "allow_dark": True}],
            "rois": [{"use": "whole"}],
            "write": [{"use": "npy", "path": path}],
            "output": str(self.out),
            "engine": {"use": "local", "workers": 0},
        }
        self.before = self.tree()

    def run(self) -> None:
        assert run(self.spec, folder=self.folder).exit_code == 0

    def tree(self, folder: Path | None = None) -> dict[str, str]:
        """Relative path -> digest of what lies in the sources' folder, curate's own left out."""
        base = self.root if folder is None else folder
        files = (p for p in sorted(base.rglob("*")) if p.is_file() and FOLDER not in p.parts)
        return {p.relative_to(base).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    @property
    def copies(self) -> dict[str, str]:
        return {
            name: digest for name, digest in self.tree(self.out).items() if name.endswith(".npy") and "/" in name and ".curate" not in name
        }


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    made.run()
    return made


def test_copies_take_the_place_and_originals_are_kept(lab):
    done = swap(lab.out)
    assert sorted(done.done) == ["fly/a.npy", "mouse/a.npy", "mouse/b.npy"]
    assert lab.tree() == lab.copies
    assert done.originals == lab.folder / "images.originals"
    assert lab.tree(done.originals) == lab.before
    assert np.load(lab.root / "mouse/a.npy").dtype == np.uint8


def test_nothing_is_cleaned_twice(lab):
    swap(lab.out)
    first = lab.tree()
    again = swap(lab.out)
    assert again.done == ()
    assert sorted(again.already) == sorted(first)
    lab.run()  # finds the copies
    once_more = swap(lab.out)
    assert once_more.done == ()
    assert sorted(once_more.already) == sorted(first)
    assert lab.tree() == first
    assert lab.tree(lab.folder / "images.originals") == lab.before


def test_what_was_added_since_is_swapped_alone(lab):
    swap(lab.out)
    save(lab.root / "fly/new.raw", np.full((4, 5), 999, np.uint16))
    lab.run()
    assert swap(lab.out).done == ("fly/new.npy",)
    assert len(lab.tree(lab.folder / "images.originals")) == 4


def test_the_way_back(lab):
    swap(lab.out)
    done = undo(lab.out)
    assert sorted(done.done) == sorted(lab.before)
    assert lab.tree() == lab.before
    assert lab.tree(lab.folder / "images.originals") == {}
    assert undo(lab.out).done == ()
    swap(lab.out)
    assert lab.tree() == lab.copies


def test_originals_are_deleted_only_when_told_to(lab):
    done = swap(lab.out, delete=True)
    assert done.originals is None
    assert lab.tree() == lab.copies
    assert not (lab.folder / "images.originals").exists()
    with pytest.raises(RequestError, match="the original of .* is not there: it was deleted"):
        undo(lab.out)


def test_a_folder_for_the_originals(lab):
    swap(lab.out, originals=lab.folder / "there/deep")
    assert lab.tree(lab.folder / "there/deep") == lab.before


def test_rights_stay(lab):
    (lab.root / "fly/a.npy").chmod(0o640)
    lab.run()
    swap(lab.out)
    assert (lab.root / "fly/a.npy").stat().st_mode & 0o777 == 0o640


def refused(lab, match, **options):
    """Nothing is changed by a swap that is refused."""
    tree = lab.tree(lab.folder)
    with pytest.raises(RequestError, match=match):
        swap(lab.out, **options)
    assert lab.tree(lab.folder) == tree


def test_a_source_that_changed_is_refused(lab):
    save(lab.root / "fly/a.npy", np.zeros((4, 5), np.uint16))
    refused(lab, r"fly/a\.npy: it is not the file that the dataset was made from")


def test_a_source_that_is_gone_is_refused(lab):
    (lab.root / "fly/a.npy").unlink()
    refused(lab, r"fly/a\.npy: it is gone, and was the file that the dataset was made from")


def test_a_name_that_is_taken_is_refused(lab):
    (lab.root / "mouse/b.npy").write_bytes(b"mine")
    refused(lab, r"mouse/b\.npy: there is a file already where the copy of mouse/b\.raw would go")


def test_a_place_for_the_original_that_is_taken_is_refused(lab):
    (lab.folder / "images.originals/fly").mkdir(parents=True)
    (lab.folder / "images.originals/fly/a.npy").write_bytes(b"mine")
    refused(lab, r"there is a file already where the original of fly/a\.npy would go .*--originals")


def test_a_damaged_dataset_is_refused(lab):
    save(lab.out / "fly/a.npy", np.zeros((4, 5), np.uint8))
    refused(lab, "the dataset is not as it was written: fly/a.npy.* curate verify|the dataset is not as it was written")


def test_a_symbolic_link_is_refused(lab):
    target = lab.folder / "elsewhere.npy"
    (lab.root / "fly/a.npy").rename(target)
    (lab.root / "fly/a.npy").symlink_to(target)
    refused(lab, r"fly/a\.npy: the source is a symbolic link")


def test_a_changed_copy_is_not_thrown_away_by_the_way_back(lab):
    swap(lab.out)
    save(lab.root / "fly/a.npy", np.zeros((4, 5), np.uint8))
    with pytest.raises(RequestError, match="it is not the copy that was put here"):
        undo(lab.out)
    save(lab.root / "fly/a.npy", np.load(lab.out / "fly/a.npy"))
    save(lab.root / "mouse/a.raw", np.zeros(3))
    with pytest.raises(RequestError, match=r"mouse/a\.raw is there again, where its original would go"):
        undo(lab.out)


def test_patches_are_no_copies(tmp_path):
    lab = Lab(tmp_path, path="{group}/{image}/{roi}.npy")
    lab.spec["rois"] = [{"use": "grid", "size": 2}]
    lab.run()
    refused(lab, "two samples would take the place of fly/a.npy")


def test_stacks_are_no_copies(tmp_path):
    lab = Lab(tmp_path)
    lab.spec["write"] = [{"use": "npy", "path": "{group}.npy", "stack": True}]
    lab.run()
    refused(lab, "sample .* is no copy")


def test_a_dataset_that_moved_with_its_sources_needs_to_be_told(lab):
    lab.root.rename(lab.folder / "moved")
    with pytest.raises(RequestError, match=r"where the sources lie is not known: the dataset does not say .*--root"):
        swap(lab.out)
    with pytest.raises(RequestError, match="there is no such folder"):
        swap(lab.out, root=lab.folder / "nowhere")
    swap(lab.out, root=lab.folder / "moved")
    assert lab.tree(lab.folder / "moved") == lab.copies


def test_another_swap_at_work_is_respected(lab):
    with swapping._alone(lab.root), pytest.raises(RequestError, match="another swap is at work here"):
        swap(lab.out)


def test_originals_stay_on_their_file_system(lab, monkeypatch):
    other = lab.folder / "other"
    other.mkdir()
    real = Path.stat

    def stat(self, **options):
        found = real(self, **options)
        return os.stat_result([*found[:2], 424242, *found[3:]]) if self == other else found

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(RequestError, match="originals are renamed, not copied"):
        swap(lab.out, originals=other / "here")
    assert lab.tree() == lab.before


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("way", ["there", "back"])
def test_killed_between_any_two_steps(tmp_path, monkeypatch, way, delete):
    """Whatever was done when it ended, the next swap finishes it."""
    if way == "back" and delete:
        return
    lab = Lab(tmp_path)
    lab.run()
    for survived in range(40):
        shutil.rmtree(lab.root)
        shutil.rmtree(lab.folder / "images.originals", ignore_errors=True)
        lab = Lab(tmp_path)
        if way == "back":
            swap(lab.out)
        left = [survived]

        def dying(original, left=left):
            def act(*arguments, **options):
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return original(*arguments, **options)

            return act

        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "unlink"):
                patch.setattr(swapping.os, name, dying(getattr(os, name)))
            patch.setattr(swapping.shutil, "copyfile", dying(shutil.copyfile))
            try:
                undo(lab.out) if way == "back" else swap(lab.out, delete=delete)
                finished = True
            except Killed:
                finished = False
        if way == "back":
            undo(lab.out)
            assert lab.tree() == lab.before, survived
        else:
            swap(lab.out, delete=delete)
            assert lab.tree() == lab.copies, survived
            if not delete:
                assert lab.tree(lab.folder / "images.originals") == lab.before, survived
        assert not (lab.root / FOLDER / "plan.json").exists()
        assert not finish(lab.root)
        if finished:
            assert survived > 5
            return
    pytest.fail("it never ended")


def test_a_full_disk_leaves_the_sources(lab, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(swapping.shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space"):
            swap(lab.out)
    assert lab.tree() == lab.before
    swap(lab.out)
    assert lab.tree() == lab.copies


def test_the_command(lab, capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")

    def say(*words):
        assert main(["swap", str(lab.out), *words]) == 0
        return capsys.readouterr().out

    assert say("--dry-run").startswith("3 files would be replaced in ")
    assert lab.tree() == lab.before
    said = say("-v")
    assert "  fly/a.npy\n" in said
    assert f"3 files replaced in {lab.root}; originals in {lab.root}.originals." in said
    assert "3 files there came from an earlier swap and stayed." in say()
    assert say("--undo", "--dry-run").startswith("3 originals would be brought back")
    assert say("--undo") == f"3 originals brought back in {lab.root}.\n"
    assert say("--delete-originals", "-q") == ""
    assert main(["swap", str(lab.folder)]) == 2
    assert "there is no curated dataset here" in capsys.readouterr().err


def test_hidden_files_of_a_swap_are_no_sources(lab):
    swap(lab.out)
    lab.run()
    rows = [json.loads(line) for line in (lab.out / "manifest.jsonl").read_text().splitlines()]
    assert len(rows) == 3
