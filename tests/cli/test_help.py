"""The help of the command line, its suggestions and its completion; its options are the fields of the records."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields

import click
import pytest
from click.testing import CliRunner, Result

from fullfield import Compute, Encoding, Target, Where
from fullfield.cli import COMMANDS, main
from fullfield.cli.command import GROUPS, Command, GroupedOption
from tests.processes import PATIENCE_S


def run(*arguments: str, width: int = 80) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="fullfield", terminal_width=width, max_content_width=width)


def options_of(command: str) -> list[GroupedOption]:
    found = main.get_command(click.Context(main), command)
    assert found is not None
    return [parameter for parameter in found.params if isinstance(parameter, GroupedOption)]


def test_scan_is_the_first_command() -> None:
    assert COMMANDS[0] == "scan"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("everything", [False, True])
def test_help_fits_a_terminal_and_nothing_is_cut(command: str, everything: bool) -> None:
    text = run(command, "--help-all" if everything else "--help").output
    assert max(map(len, text.splitlines())) <= 80
    assert everything or len(text.splitlines()) <= 60
    shown = [option for option in options_of(command) if everything or not option.rare]
    words = " ".join(text.split())
    for option in shown:
        assert option.opts[-1] in words
        assert option.help is not None
        assert " ".join(option.help.split()) in words


def test_the_list_of_commands_cuts_nothing() -> None:
    words = " ".join(run("--help").output.split())
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert command.help is not None
        first = " ".join(command.help.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        assert f"{name} {first}." in words


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_three_examples_that_the_command_takes(command: str) -> None:
    found = main.get_command(click.Context(main), command)
    assert isinstance(found, Command)
    assert len(found.examples) == 3
    names = {name for parameter in found.params for name in parameter.opts}
    for example in found.examples:
        assert f"  {example}\n" in run(command, "--help").output
        if example.startswith(f"fullfield {command}"):
            assert set(re.findall(r"(?<= )--?[a-z-]+", example)) <= names


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_belongs_to_a_group_and_groups_are_in_order(command: str) -> None:
    assert all(option.group in GROUPS for option in options_of(command))
    text = run(command, "--help-all").output
    headings = [line.rstrip(":") for line in text.splitlines() if line.rstrip(":") in GROUPS]
    assert headings == [group for group in GROUPS if any(option.group == group for option in options_of(command))]


def test_help_says_how_many_options_it_leaves_out() -> None:
    rare = sum(option.rare for option in options_of("scan"))
    assert rare > 0
    assert f"--help-all adds {rare} more options." in run("scan", "--help").output
    assert "more options" not in run("scan", "--help-all").output


@pytest.mark.parametrize("record", [Where, Encoding, Compute, Target])
def test_options_are_the_fields_of_the_records(record: type) -> None:
    names = [name for option in options_of("scan") for name in option.opts]
    for field in fields(record):
        assert f"--{field.name.replace('_', '-')}" in names


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--stride", "write --step 32: px between neighbouring windows"),
        ("--overlap", "write --step: px between neighbouring windows"),
        ("--batch-size", "write --tile 8,8: windows computed together"),
        ("--border", "write --mode 2, or --mode 2,14"),
        ("--argmax", "write --labels"),
        ("--keep", "write --classes, --labels, --activation, --dtype or --range"),
        ("--skip-backround", "did you mean --skip-background?"),
        ("--nonsense", "see --help-all for all options"),
    ],
)
def test_an_unknown_option_comes_with_a_suggestion(option: str, says: str) -> None:
    result = run("scan", "model.onnx", "photo.png", option, "3")
    assert result.exit_code == 2
    assert f"there is no option {option}; {says}" in result.stderr


def test_what_a_command_does_not_have_is_not_suggested() -> None:
    assert "--labels" not in run("plan", "model.onnx", "photo.png", "--argmax").stderr


@pytest.mark.parametrize(("words", "found"), [("fullfield sc", "scan"), ("fullfield scan --skip", "--skip-background")])
def test_a_shell_completes_commands_and_options(words: str, found: str) -> None:
    environment = os.environ | {
        "_FULLFIELD_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    code = "from fullfield.cli import main; main(prog_name='fullfield')"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert result.stdout == f"plain,{found}\n"
