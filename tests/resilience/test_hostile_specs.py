"""Specs and folders that were made to hurt: a clear refusal within bounded time and memory, or harmless; never a wrong dataset."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from usage import growth, measured

import curate_core
from curate_core.cli.main import main
from curate_core.errors import CurateError, RequestError, SpecError
from curate_core.host import default_host
from curate_core.roifile import load_rois, save_rois
from curate_core.rois import RoiTable
from curate_core.spec import load

FULL = "CURATE_FUZZ" in os.environ
SPEC: dict[str, Any] = {
    "version": 1,
    "name": "hostile",
    "source": {"use": "files", "root": "data", "pattern": "{case}.npy"},
    "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
    "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
    "output": "out",
    "engine": {"use": "local", "workers": 0},
}


def refusal(folder: Path, content: bytes) -> SpecError | RequestError:
    (folder / "spec.json").write_bytes(content)
    with pytest.raises(RequestError) as caught:
        load(folder / "spec.json", default_host())
    assert caught.value.exit_code == 2
    return caught.value


# Files that are no specs.


CONTENTS = {
    "empty": (b"", r"not JSON: Expecting value \(line 1, column 1\)"),
    "white space": (b" \n\t", "not JSON: Expecting value"),
    "not UTF-8": (b'{"name": "\xff"}', "cannot be read: 'utf-8' codec can't decode byte 0xff"),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), "cannot be read: 'utf-8' codec"),
    "a list": (b"[]", "a spec is an object with keys such as source, rois and write"),
    "a text": (b'"spec"', "a spec is an object"),
    "null": (b"null", "a spec is an object"),
    "NaN": (b'{"seed": NaN}', "not JSON: NaN is not a JSON number"),
    "minus infinity": (b'{"seed": [-Infinity]}', "not JSON: -Infinity is not a JSON number"),
    "doubled key": (b'{"name": "a", "name": "b"}', "the key 'name' stands twice in one object"),
    "doubled key below": (b'{"source": {"use": "a", "use": "b"}}', "the key 'use' stands twice"),
    "nested": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    "nested objects": (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "nested"),
    "nested and open": (b"[" * 100_000, "not JSON|nested"),
    "five thousand digits": (b'{"seed": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
    "half a character": (b'{"name": "\\ud800"}', r"'\\ud800' holds half a character: \\ud800 to \\udfff come in pairs"),
    "half a character as key": (b'{"\\udfff": 1}', "half a character"),
    "NUL": (b'{"name": "a\x00b"}', "not JSON: Invalid control character"),
    "a pickle": (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07touch x\x94.", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(CONTENTS))
def test_what_is_no_spec_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    content, words = CONTENTS[kind]
    error = refusal(tmp_path, content)
    assert re.search(words, str(error)), str(error)
    assert "spec.json" in str(error)
    assert len(str(error)) < 500


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(SPEC).encode())
    assert load(tmp_path / "spec.json", default_host()).name == "hostile"


def many_keys() -> bytes:
    return b"{" + b",".join(b'"k%d":1' % i for i in range(1_200_000)) + b',"k0":2}'


def many_mistakes() -> bytes:
    return json.dumps({**SPEC, "rois": [{"use": "grid", "size": 0}] * 20_000}).encode()


def long_text() -> bytes:
    return json.dumps({**SPEC, "name": "x" * 10_000_000, "output": "y" * 5_000_000}).encode()


BIG = {"100 MB": lambda: b'{"name": "' + b"x" * 100_000_000 + b'"}', "keys": many_keys, "mistakes": many_mistakes, "text": long_text}
SAID = {
    "100 MB": "the file has 100 MB, a spec has at most 16",
    "keys": "the key 'k0' stands twice",
    "mistakes": "20000 mistakes",
    "text": "of 5,000,000 characters",
}


@pytest.mark.parametrize("kind", sorted(BIG))
def test_large_specs_cost_little(tmp_path: Path, kind: str) -> None:
    """In a process of its own, whose time and memory are looked at."""
    (tmp_path / "spec.json").write_bytes(BIG[kind]())
    used = measured([sys.executable, "-m", "curate_core", "check", "spec.json"], tmp_path)
    assert used.exit_code == 2
    assert SAID[kind] in used.said
    assert "Traceback" not in used.said
    assert used.seconds < 60
    assert used.peak < 900 << 20
    if kind != "mistakes":
        assert len(used.said) < 2000


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="a spec has at most 16"):
        load("/dev/zero", default_host())


HUGE = 10**400


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("version", HUGE, "this curate reads specs of version 1, not 1000"),
        ("engine.workers", HUGE, "engine.workers: .* must be at most 1024"),
        ("engine.workers", 1.0, "engine.workers: expected a whole number.*, got 1.0"),
        ("engine.workers", True, "engine.workers: expected a whole number.*, got true"),
        ("engine.timeout", HUGE, "engine.timeout: expected a number"),
        ("output", "a\0b", "output: expected a path"),
        ("output", "~nobody-of-that-name/x", "output: expected a path"),
        ("output", "x" * 5000, "output: expected a path, got .* of 5,000 characters"),
        ("source.pattern", "", "source.pattern"),
        ("name", "", "name: must not be empty"),
        ("rois.0.planes", [], "rois.0.planes: needs at least 1 entries"),
        ("write.0.path", "/etc/{case}.npy", "write.0.*: .*would leave the output folder"),
        ("write.0.path", "../{case}.npy", "write.0.*: .*would leave the output folder"),
        ("write.0.path", "a/../../{case}.npy", "write.0.*: .*would leave the output folder"),
        ("write.0.path", "a\n{case}.npy", "write.0.*: .*control characters"),
        ("write.0.path", ".curate/{case}.npy", "write.0.*: .*curate"),
    ],
)
def test_values_that_no_run_can_use(tmp_path: Path, path: str, value: Any, words: str) -> None:
    spec: Any = json.loads(json.dumps(SPEC))
    target = spec
    *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in way:
        target = target[key]
    target[last] = value
    with pytest.raises(SpecError, match=words):
        load(spec, default_host(), folder=tmp_path)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("=", "--set takes KEY=VALUE"),
        ("name", "--set takes KEY=VALUE"),
        ("rois.²=1", "--set wants an index below 1, got '²'"),
        ("rois." + "9" * 5000 + "=1", "--set wants an index below 1"),
        ("rois.-1=1", "--set wants an index below 1, got '-1'"),
        ("name.a.b=1", "--set cannot reach into"),
        ("." * 2000 + "=1", "nested more than 64 deep"),
        ("rois=" + "[" * 800 + "]" * 800, "nested more than 64 deep"),
        ('name="\\ud800"', "half a character"),
        ("seed=NaN", 'seed: expected a whole number, got "NaN"'),
        ("seed=" + "9" * 5000, "seed: expected a whole number"),
        ("\udcff=1", "unknown key"),
    ],
)
def test_settings_that_lead_nowhere(tmp_path: Path, setting: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        load(SPEC, default_host(), [setting], tmp_path)


def test_values_that_json_has_not(tmp_path: Path) -> None:
    loop: dict[str, Any] = dict(SPEC)
    loop["source"] = loop
    for value in ({**SPEC, "output": tmp_path}, {**SPEC, "seed": 10**5000}, {**SPEC, "name": {1, 2}}, loop):
        with pytest.raises(SpecError, match="the spec holds what JSON cannot"):
            load(value, default_host())


@pytest.mark.parametrize(
    "content", ['[{"case": NaN}]', "[" * 100_000, '[{"case": "a", "case": "b"}]', '[{"case": "\\ud800"}]', "{}", "\x80"]
)
def test_tables_are_read_as_strictly_as_specs(tmp_path: Path, content: str) -> None:
    (tmp_path / "cases.json").write_text(content, encoding="utf-8")
    source = {"use": "list", "table": "cases.json", "layers": {"image": {"files": "a.npy"}}}
    with pytest.raises(RequestError) as caught:
        curate_core.run({**SPEC, "source": source}, folder=tmp_path)
    assert "cases.json" in str(caught.value)


@pytest.mark.parametrize("size", ["0", "-1", "NaN", "1e400"])
def test_a_voxel_size_in_a_table_that_is_none(tmp_path: Path, size: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 9, 9), "u1"))
    (tmp_path / "cases.json").write_text(f'[{{"case": "a", "layers": {{"image": {{"files": "a.npy", "spacing": [1, {size}, 1]}}}}}}]')
    with pytest.raises(RequestError, match=r"cases\.json"):
        curate_core.run({**SPEC, "source": {"use": "list", "table": "cases.json"}}, folder=tmp_path)


# What a disk or a hand does to a dataset, and to what curate keeps of it.


SMALL: dict[str, Any] = {
    **SPEC,
    "source": {"use": "files", "root": "data", "pattern": "{case}.npy"},
    "preprocess": [{"use": "to-uint8", "range": "min-max", "over": "dataset"}],
    "rois": [{"use": "grid", "size": 8, "planes": ["xy"], "spacing": 2}],
    "filter": [{"use": "intensity", "min_mean": 1}],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sources and a finished dataset, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "data").mkdir()
    for number, case in enumerate("ab"):
        np.save(folder / "data" / f"{case}.npy", np.random.default_rng(number).integers(0, 3000, (4, 16, 16), dtype=np.uint16))
    assert curate_core.run(SMALL, folder=folder).exit_code == 0
    return folder


def tree(out: Path) -> dict[str, str]:
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and ".curate" not in path.relative_to(out).parts)
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pickled(touched: Path) -> bytes:
    """A .npy file of objects; whoever unpickles it makes a file."""
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode() + b"cposix\nsystem\n(S'touch " + str(touched).encode() + b"'\ntR."


def archived(content: bytes, names: list[str]) -> bytes:
    """A .npz archive whose arrays are all ``content``."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return file.getvalue()


def flip(data: bytes, share: float) -> bytes:
    at = min(len(data) - 1, int(len(data) * share))
    return data[:at] + bytes([data[at] ^ 0x04]) + data[at + 1 :] if data else b"x"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped at the start": lambda data: flip(data, 0.02),
    "flipped in the middle": lambda data: flip(data, 0.5),
    "flipped at the end": lambda data: flip(data, 0.97),
    "cut in half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "another": lambda data: b'{"version": 1}\n',
}


def kept_files(folder: Path) -> list[str]:
    """The files of a dataset's folder that are no samples, and one sample."""
    names = [path.relative_to(folder).as_posix() for path in sorted((folder / "out").rglob("*")) if path.is_file()]
    return [name for name in names if not name.startswith(("out/a/", "out/b/"))]


def outcome(act: Callable[..., object], *given: Any, **options: Any) -> CurateError | None:
    """The error that a user would see; any other exception goes through."""
    try:
        act(*given, **options)
    except CurateError as error:
        found = error
    else:
        return None
    assert found.exit_code in (2, 3)
    return found


def read_all(out: Path) -> None:
    list(curate_core.open(out))


def verify(out: Path) -> None:
    curate_core.open(out).verify()


@pytest.mark.parametrize("turn", range(len(DAMAGES) if FULL else 1))
def test_a_damaged_file_is_made_again_or_named(finished: Path, tmp_path: Path, turn: int) -> None:
    """Every file that is no sample, one after the other; then a run, and one that adds cases."""
    reference = tree(finished / "out")
    names = kept_files(finished)
    assert len(names) > 25
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(finished, folder)
        path = folder / name
        damage = sorted(DAMAGES)[(number + turn) % len(DAMAGES)]
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
        outcome(read_all, folder / "out")
        outcome(verify, folder / "out")
        added = outcome(curate_core.run, SMALL, folder=folder, append=True)
        assert added is None or name in str(added), added
        again = outcome(curate_core.run, SMALL, folder=folder)
        assert again is None or (name in str(again) and again.hint), again
        if again is None:
            assert tree(folder / "out") == reference, (name, damage)
            assert curate_core.open(folder / "out").verify() == []
        shutil.rmtree(folder)


def test_pickles_among_the_parts_are_never_loaded(finished: Path, tmp_path: Path) -> None:
    """Sealed anew, as one does who means it."""
    reference = tree(finished / "out")
    arrays = [name for name in kept_files(finished) if name.endswith((".npy", ".npz"))]
    assert len(arrays) > 8
    for number, name in enumerate(arrays):
        folder = tmp_path / str(number)
        shutil.copytree(finished, folder)
        content = pickled(tmp_path / "pwned")
        if name.endswith(".npz"):
            with zipfile.ZipFile(folder / name) as archive:
                content = archived(content, archive.namelist())
        (folder / name).write_bytes(content)
        for seal in (folder / "out" / ".curate" / "parts").rglob("seal.json"):
            seal.write_text(resealed(seal))
        outcome(read_all, folder / "out")
        try:
            curate_core.run(SMALL, folder=folder)
            assert tree(folder / "out") == reference
        except (CurateError, ValueError) as error:
            assert "pickle" in str(error) or name in str(error)  # noqa: PT017
        assert not (tmp_path / "pwned").exists()


def resealed(seal: Path) -> str:
    from curate_core.parts import file_sum

    return json.dumps({name: file_sum(seal.parent / name) for name in json.loads(seal.read_text())})


def test_a_sample_that_was_changed_is_found_and_one_that_is_gone_made_again(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    sample = next(iter(sorted((folder / "out" / "a").iterdir())))
    good = sample.read_bytes()
    sample.write_bytes(flip(good, 0.99))
    (problem,) = curate_core.open(folder / "out").verify()
    assert sample.name in problem
    sample.write_bytes(pickled(tmp_path / "pwned"))
    assert len(curate_core.open(folder / "out").verify()) == 1
    assert not (tmp_path / "pwned").exists()
    sample.unlink()
    assert curate_core.run(SMALL, folder=folder).exit_code == 0
    assert sample.read_bytes() == good
    assert curate_core.open(folder / "out").verify() == []


def test_a_journal_without_its_last_line_and_a_sample_that_is_gone(finished: Path, tmp_path: Path) -> None:
    """The last line says which samples are in place: without it nobody may think that the others are."""
    reference = tree(finished / "out")
    for lines in range(1, 7):
        folder = tmp_path / str(lines)
        shutil.copytree(finished, folder)
        journal = folder / "out" / ".curate" / "journal.jsonl"
        kept = journal.read_bytes().splitlines(keepends=True)[:-lines]
        journal.write_bytes(b"".join(kept))
        next(iter(sorted((folder / "out" / "a").iterdir()))).unlink()
        assert curate_core.run(SMALL, folder=folder).exit_code == 0
        assert tree(folder / "out") == reference


def interrupted(finished: Path, folder: Path, moves: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose commit of another dataset stopped after some renames; the path of its plan."""
    shutil.copytree(finished, folder)
    real, count = os.replace, 0

    def failing(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count > moves:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("curate_core.commit.os.replace", failing)
        with pytest.raises(KeyboardInterrupt):
            curate_core.run({**SMALL, "seed": 7}, folder=folder)
    return folder / "out" / ".curate" / "commit" / "plan.json"


@pytest.mark.parametrize("moves", [0, 3])
def test_a_damaged_plan_of_a_commit_is_not_carried_out(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int) -> None:
    for number, damage in enumerate(sorted(DAMAGES)):
        folder = tmp_path / str(number)
        plan = interrupted(finished, folder, moves, monkeypatch)
        content = plan.read_bytes()
        plan.write_bytes(DAMAGES[damage](content))
        error = outcome(curate_core.run, {**SMALL, "seed": 7}, folder=folder)
        assert error is not None
        assert error.exit_code == 3
        assert "what curate keeps of the dataset is damaged" in str(error)
        assert "plan.json" in str(error)
        plan.write_bytes(content)
        assert curate_core.run({**SMALL, "seed": 7}, folder=folder).exit_code == 0
        assert curate_core.open(folder / "out").verify() == []


def test_commands_over_damaged_datasets_say_one_line(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("dataset.json", "manifest.jsonl", "manifest.index.npy"):
        for damage in sorted(DAMAGES):
            folder = tmp_path / name / damage
            shutil.copytree(finished, folder)
            path = folder / "out" / name
            path.write_bytes(DAMAGES[damage](path.read_bytes()))
            for command in ("info", "verify"):
                code = main([command, str(folder / "out")])
                said = capsys.readouterr()
                assert code in ((0, 1, 2) if command == "info" or damage.startswith("flipped") else (1, 2)), (name, damage, said)
                assert "Traceback" not in said.err
                assert "bug" not in said.err, (name, damage, said.err)


# Files of ROIs.


@pytest.mark.parametrize("suffix", [".npz", ".jsonl"])
def test_damaged_files_of_rois_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rois{suffix}"
    start = np.arange(30).reshape(10, 3)
    save_rois(path, {"a": (RoiTable.boxes(start, start + 4, "zyx", attributes={"score": np.linspace(0, 1, 10)}), {})})
    good = path.read_bytes()
    contents = [flip(good, share) for share in np.linspace(0, 0.999, 60)] + [good[: int(len(good) * share)] for share in (0.1, 0.5, 0.9)]
    for content in [
        *contents,
        b"",
        b"[]",
        b"null\n",
        b"{}\n",
        b'{"case": 1}\n',
        pickled(tmp_path / "pwned"),
        archived(pickled(tmp_path / "pwned"), ["header.npy"]),
    ]:
        path.write_bytes(content)
        error = outcome(load_rois, path)
        assert error is None or (error.exit_code == 2 and str(path) in str(error))
    assert not (tmp_path / "pwned").exists()


def test_a_bomb_in_a_file_of_rois(tmp_path: Path) -> None:
    header = "{'descr': '<i8', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + "\n"
    bomb = b"\x93NUMPY\x01\x00v\x00" + header.encode() + bytes(80)
    (tmp_path / "rois.npz").write_bytes(archived(bomb, ["header.npy", "0.view0.start.npy"]))
    with growth() as used, pytest.raises(RequestError, match="this is no file of ROIs"):
        load_rois(tmp_path / "rois.npz")
    assert used["bytes"] < 300 << 20
