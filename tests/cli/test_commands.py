"""Each command on a small desk, with its mistakes."""

import json

import numpy as np
import pytest

import curate_core
from curate_core.host import default_host
from curate_core.testing.fixtures import write_distribution, write_package


def test_run_makes_a_dataset_and_says_what_it_did(desk):
    code, said, progress = desk("run", desk.path)
    assert code == 0
    lines = [" ".join(line.split()) for line in said.splitlines()]
    dataset = curate_core.open(desk.folder / "out")
    assert "found 48 in 2 cases" in lines
    assert any(line.startswith(f"intensity {len(dataset)} {48 - len(dataset)} dropped -") for line in lines)
    assert any(line.startswith(f"written {len(dataset)} ") for line in lines)
    assert any(line.startswith("check it curate verify") for line in lines)
    assert "finding ROIs: 2 of 2, 48 found" in progress
    assert desk("run", desk.path)[1].count("Everything was up to date.") == 1


def test_run_is_quiet_when_asked(desk):
    assert desk("run", desk.path, "-q") == (0, "", "")


def test_run_names_units_when_verbose(desk):
    assert "v1: done" in desk("run", desk.path, "-v")[2]


def test_run_takes_overrides_output_and_workers(desk, tmp_path):
    assert (
        desk("run", desk.path, "--set", "rois.0.size=4", "--set", "filter.0.min_mean=0", "--output", tmp_path / "else", "--workers", "0")[0]
        == 0
    )
    assert len(curate_core.open(tmp_path / "else")) == 2 * 4 * 5 * 6
    assert not (desk.folder / "out").exists()


def test_a_bad_case_is_exit_code_1_and_named(desk):
    (desk.folder / "v9.npy").write_bytes(b"no array")
    code, said, progress = desk("run", desk.path)
    assert code == 1
    assert "1 case in quarantine" in said
    assert "v9" in progress
    assert desk("run", desk.path, "-q")[2].startswith("1 case in quarantine: see ")


def test_stopping_at_the_first_failure_is_exit_code_3(desk):
    (desk.folder / "v9.npy").write_bytes(b"no array")
    code, _, error = desk("run", desk.path, "--set", "on_error=stop")
    assert code == 3
    assert "stopped at the first failure" in error


def test_exit_codes_of_a_real_process(desk, shell):
    assert shell("run", desk.path).returncode == 0
    assert shell("run", desk.path, "--set", "rois.0.size=0").returncode == 2
    (desk.folder / "v9.npy").write_bytes(b"no array")
    done = shell("run", desk.path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_plan_says_what_would_run_and_why_and_writes_nothing(desk):
    code, said, _ = desk("plan", desk.path)
    assert code == 0
    assert "v0: finding ROIs: not done yet" in said
    assert "--find finds them" in said
    assert "at most 48" in desk("plan", desk.path, "--find")[1]
    assert not (desk.folder / "out").exists()
    desk("run", desk.path)
    assert "Nothing would be done: the dataset is complete." in desk("plan", desk.path)[1]
    assert "v0: writing: the step list 'filter' changed" in desk("plan", desk.path, "--set", "filter.0.min_mean=0")[1]
    (desk.folder / "v1.npy").unlink()
    assert "removed at commit: case v1: " in desk("plan", desk.path)[1]


def test_check_shows_every_layer_with_its_grid(desk):
    code, said, _ = desk("check", desk.path)
    assert code == 0
    assert "4 x 20 x 24 zyx, spacing unknown" in said
    assert "2 cases, 2 layers, all of which open." in said
    (desk.folder / "v1.npy").write_bytes(b"no array")
    code, said, _ = desk("check", desk.path)
    assert code == 1
    assert "1 layer cannot be opened" in said


def test_an_empty_pattern_says_where_it_looked(desk):
    code, _, error = desk("check", desk.path, "--set", "source.pattern={case}.nrrd")
    assert code == 2
    assert "no file fits '{case}.nrrd'" in error
    assert "spec.json" in error


def test_a_foreign_output_folder_is_refused(desk):
    (desk.folder / "out").mkdir()
    (desk.folder / "out" / "thesis.txt").write_text("")
    code, _, error = desk("run", desk.path, "--overwrite")
    assert code == 2
    assert "the output folder holds other things: thesis.txt" in error


@pytest.mark.parametrize("name", ["rois.npz", "rois.jsonl"])
def test_rois_can_be_found_once_and_used_later(desk, name):
    code, said, _ = desk("rois", desk.path, "-o", desk.folder / name)
    assert code == 0
    assert said.startswith("48 ROIs of 2 cases are in")
    desk("run", desk.path)
    first = [row["id"] for row in curate_core.open(desk.folder / "out").rows()]
    desk.save(rois=[{"use": "list", "file": name}], output="again")
    assert desk("run", desk.path, "-q")[0] == 0
    assert [row["id"] for row in curate_core.open(desk.folder / "again").rows()] == first
    assert "the file is there already" in desk("rois", desk.path, "-o", desk.folder / name)[2]


def test_rois_of_another_grid_are_refused(desk):
    desk("rois", desk.path, "-o", desk.folder / "rois.npz")
    np.save(desk.folder / "v0.npy", np.zeros((5, 20, 24), np.uint8))
    desk.save(rois=[{"use": "list", "file": "rois.npz"}])
    code, _, progress = desk("run", desk.path)
    assert code == 1
    assert "lie on different grids: 4 x 20 x 24 zyx, spacing unknown against 5 x 20 x 24 zyx" in progress


def test_rois_are_written_as_npz_or_jsonl(desk):
    code, _, error = desk("rois", desk.path, "-o", desk.folder / "rois.txt")
    assert code == 2
    assert "ROIs are written as .npz or .jsonl" in error


def test_info_of_a_file_and_of_a_dataset(desk):
    _, said, _ = desk("info", desk.folder / "v0.npy")
    facts = dict(line.split(None, 1) for line in said.splitlines())
    values = np.load(desk.folder / "v0.npy")
    assert facts["reader"].strip() == "curate-core:npy"
    assert facts["grid"].strip() == "4 x 20 x 24 zyx, spacing unknown"
    assert facts["values"].strip() == f"{values.min()} to {values.max()}"
    desk("run", desk.path)
    said = desk("info", desk.folder / "out")[1]
    assert "desk" in said
    assert "image: 8 x 8 uint8 (of the first sample)" in said


def test_info_of_nothing_and_of_an_unfinished_dataset(desk):
    assert "there is no such file or folder" in desk("info", desk.folder / "none")[2]
    desk("run", desk.path)
    (desk.folder / "out" / "dataset.json").unlink()
    code, _, error = desk("info", desk.folder / "out")
    assert code == 2
    assert "not complete: run its spec again to continue" in error


def test_why_names_readers_and_reasons(desk):
    code, said, _ = desk("why", desk.folder / "v0.npy")
    assert (code, "takes it" in said) == (0, True)
    (desk.folder / "bad.npy").write_bytes(b"no array")
    code, said, _ = desk("why", desk.folder / "bad.npy")
    assert (code, "it does not start as a .npy file" in said) == (1, True)
    (desk.folder / "x.czi").write_bytes(b"")
    code, said, _ = desk("why", desk.folder / "x.czi")
    assert (code, "No installed reader claims files that end like x.czi." in said) == (1, True)
    assert "there is no such file" in desk("why", desk.folder / "none.npy")[2]


def test_verify_is_silent_truth(desk):
    desk("run", desk.path)
    code, said, _ = desk("verify", desk.folder / "out")
    assert code == 0
    assert "are as they were written" in said
    victim = next((desk.folder / "out").glob("v0/*.npy"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x00")
    (desk.folder / "out" / "extra").write_text("")
    code, said, _ = desk("verify", desk.folder / "out")
    assert code == 1
    assert victim.name in said
    assert "extra: not part of the dataset" in said
    assert "there is no curated dataset here" in desk("verify", desk.folder)[2]


def test_schema_is_json_schema(desk):
    code, said, _ = desk("schema")
    assert code == 0
    assert json.loads(said)["title"] == "curate spec"
    assert desk("schema", "-o", desk.folder / "schema.json") == (0, "", "")
    assert json.loads((desk.folder / "schema.json").read_text()) == json.loads(said)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    default_host.cache_clear()
    yield folder
    default_host.cache_clear()


PLUGIN = """
from curate_core import Provider, hookimpl
CURATE_HOOK_API = {api}
@hookimpl
def curate_register_{kind}s():
    yield Provider("{kind}", "{name}", "Test.", "{package}.part:Part")
"""


def install(site, package: str, kind: str, name: str, part: str, api: int = 1) -> None:
    write_package(site, package, plugin=PLUGIN.format(api=api, kind=kind, name=name, package=package), part=part)
    write_distribution(site, package.replace("_", "-"), {package: f"{package}.plugin"})


FINDER = """
from attrs import frozen
from curate_core import RoiFinder
@frozen
class Part(RoiFinder):
    '''Nothing.'''
    def find(self, case, context): ...
"""


def test_broken_old_and_conflicting_plugins_leave_the_rest_working(desk, site):
    write_package(site, "raises", plugin="raise RuntimeError('out of order')")
    write_distribution(site, "raises", {"raises": "raises.plugin"})
    install(site, "old", "roi_finder", "ancient", FINDER, api=0)
    install(site, "one", "roi_finder", "spots", FINDER)
    install(site, "two", "roi_finder", "spots", FINDER)
    code, said, _ = desk("plugins")
    assert code == 0
    assert "raises 1.0  broken: RuntimeError: out of order" in said
    assert "old 1.0  broken: written for plugin API 0 (CURATE_HOOK_API), this curate has 1" in said
    assert "several offer the ROI finder 'spots': write 'one:spots' or 'two:spots' in specs" in said
    assert desk("plugins", "--check")[0] == 1
    described = json.loads(desk("plugins", "--json")[1])
    assert {p["distribution"]: p["status"] for p in described["plugins"]}["raises"] == "broken"
    assert desk("run", desk.path, "-q")[0] == 0
    error = desk("check", desk.path, "--set", 'rois=[{"use": "spots"}]')[2]
    assert "rois.0.use: 2 distributions offer the ROI finder 'spots' (write 'one:spots' or 'two:spots')" in error
    error = desk("check", desk.path, "--set", 'rois=[{"use": "raises:hot"}]')[2]
    assert "plugin raises is broken: RuntimeError: out of order" in error


IMPORTER = """
import json
from attrs import frozen
from curate_core import Importer, option
@frozen
class Part(Importer):
    '''Toy configurations.'''
    size: int = option(doc="Voxels of a tile.", default=8, ge=1)
    fields: tuple[str, ...] = option(doc="Names.", default=())
    loud: bool = option(doc="Say more.", default=False)
    def convert(self, text, folder):
        return {"version": 1, "name": json.loads(text)["title"] + "-".join(self.fields) + "!" * self.loud,
                "source": {"use": "files", "pattern": "{case}.npy"}, "rois": [{"use": "grid", "size": self.size}],
                "write": [{"use": "npy"}], "output": "out"}
"""


def test_import_turns_options_into_flags_and_checks_the_spec(desk, site):
    install(site, "toy_importer", "importer", "toy", IMPORTER)
    (desk.folder / "config.json").write_text('{"title": "mine"}')
    target = desk.folder / "made.json"
    code, said, error = desk("import", "toy", desk.folder / "config.json", "-o", target, "--size", "16", "--loud", "--fields", "a", "b")
    assert (code, error) == (0, "")
    assert "is written" in said
    made = json.loads(target.read_text())
    assert (made["name"], made["rois"][0]["size"]) == ("minea-b!", 16)
    assert "the spec is there already" in desk("import", "toy", desk.folder / "config.json", "-o", target)[2]
    assert (
        "size: 0 must be at least 1" in desk("import", "toy", desk.folder / "config.json", "-o", desk.folder / "b.json", "--size", "0")[2]
    )
    assert "there is no importer 'tyo'" in desk("import", "tyo", desk.folder / "config.json", "-o", target)[2]
    assert "the configuration cannot be read" in desk("import", "toy", desk.folder / "none", "-o", desk.folder / "c.json")[2]
    assert "Voxels of a tile." in desk("import", "toy", "--help")[1]


COMMAND = """
from attrs import frozen
from curate_core import Command
@frozen
class Part(Command):
    '''Says hello.'''
    def add_arguments(self, parser): parser.add_argument("name")
    def run(self, arguments):
        print("hello", arguments.name)
        return 0
"""


def test_a_plugins_command_is_a_command(desk, site):
    install(site, "toy_command", "command", "greet", COMMAND)
    assert desk("greet", "world")[:2] == (0, "hello world\n")
