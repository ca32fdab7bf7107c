"""Arguments that are wrong: what is said, in the form of every other error, and the nearest right word."""

import argparse

import pytest

from curate_core.cli.parser import Parser

MISTAKES = [
    (["run", "s.json", "--ouput", "x"], "error: curate run: there is no option '--ouput'\n  hint: did you mean '--output'?\n"),
    (["run", "s.json", "--ouput=x"], "error: curate run: there is no option '--ouput'\n  hint: did you mean '--output'?\n"),
    (["run", "s.json", "--out", "x"], "error: curate run: there is no option '--out'\n  hint: did you mean '--output'?\n"),
    (["run", "s.json", "-z"], "error: curate run: there is no option '-z'\n  hint: curate run --help lists them\n"),
    (["run", "s.json", "more"], "error: curate run: 'more' is one argument too many\n"),
    (["run"], "error: curate run: the following arguments are required: SPEC\n"),
    (["run", "s.json", "--workers", "many"], "error: curate run: argument --workers: invalid int value: 'many'\n"),
    (["run", "s.json", "-q", "-v"], "error: curate run: argument -v/--verbose: not allowed with argument -q/--quiet\n"),
    (["run", "s.json", "--overwrite", "--append"], "error: curate run: argument --append: not allowed with argument --overwrite\n"),
    (["-q", "run", "s.json"], "error: curate: the command comes first\n  hint: curate run -q ...\n"),
    (["--verson"], "error: curate: there is no option '--verson'\n  hint: did you mean '--version'?\n"),
    (["plugins", "--jsn"], "error: curate plugins: there is no option '--jsn'\n  hint: did you mean '--json'?\n"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=lambda words: " ".join(words) if isinstance(words, list) else "")
def test_a_wrong_argument_shows_the_usage_and_names_the_right_one(desk, words, said):
    code, out, error = desk(*words)
    assert (code, out) == (2, "")
    assert error.startswith("usage: curate ")
    assert error.endswith(said)


@pytest.mark.parametrize("words", [["help"], ["help", "run"]])
def test_help_is_a_command_too(desk, words):
    said = desk(*words)
    assert said == desk(*words[1:], "--help")
    assert said[0] == 0


def test_help_on_what_is_not_there(desk):
    assert desk("help", "rn")[2] == "error: there is no command 'rn'\n  hint: did you mean 'run'?\n"


def test_a_plugins_command_may_have_subcommands(capsys):
    parser = Parser("curate greet")
    commands = parser.add_subparsers()
    commands.add_parser("world").add_argument("--loud", action="store_true")
    assert parser.parse(["world", "--loud"]) == argparse.Namespace(loud=True)
    with pytest.raises(SystemExit, match="2"):
        parser.parse(["world", "--loudly"])
    assert "there is no option '--loudly'" in capsys.readouterr().err
