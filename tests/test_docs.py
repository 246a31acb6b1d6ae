"""Every code block of the README and the documentation runs, in the order of its page.

``python`` blocks of a page share their names, and print the ``text`` block that stands right under them. In
``console`` blocks the lines after ``$`` run, and the text under them is what they print, ``...`` matching
anything. ``make`` and ``pip`` lines are checked for what they name.
"""

import contextlib
import doctest
import io
import re
import shlex
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner

import fullfield
from fullfield.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
COMPLETE = {"tutorial.md"}  # whose text blocks are all that the page prints
# Blocks that nothing can run: output alone, and what Sphinx itself reads.
INERT = {"text", "{toctree}", "{eval-rst}", "{command-help}"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and a photograph, the working folder of the blocks; 80 columns."""
    data = files("fullfield") / "data"
    shutil.copy(str(data / "rnet.onnx"), tmp_path / "model.onnx")
    shutil.copy(str(data / "astronaut.png"), tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run(page: Path, folder: Path) -> None:
    run(page.read_text(), page.name)


def run(text: str, name: str) -> None:
    names: dict[str, object] = {}
    for kind, body, wanted in BLOCK.findall(text):
        if kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(body, name, "exec"), names)
            if wanted or name in COMPLETE:
                assert printed.getvalue() == wanted, body
        elif kind == "console":
            play(body)
        else:
            assert kind in INERT, f"{name} has a block of kind {kind!r}"


def play(session: str) -> None:
    for command, wanted in re.findall(r"^\$ ([^\n]*)\n((?:(?!\$ )[^\n]*\n)*)", session, re.MULTILINE):
        program, *arguments = shlex.split(command)
        if program == "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
        elif program == "pip":
            assert arguments[0] == "install", command
        else:
            assert program == "fullfield", command
            result = CliRunner().invoke(main, arguments, prog_name="fullfield")
            assert result.exit_code == 0, f"{command}\n{result.output}"
            assert prints(result.stdout, wanted), f"{command}\n{result.stdout}"


def prints(found: str, wanted: str) -> bool:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return not wanted or doctest.OutputChecker().check_output(wanted, found, flags)


def test_a_wrong_block_is_found(folder: Path) -> None:
    assert not prints("EXACT\n", "CONTEXT\n")
    assert prints("top\nEXACT 3\n", "...EXACT...\n")
    for page, text in (
        ("any.md", "```python\nprint(1)\n```\n\n```text\n2\n```\n"),
        ("tutorial.md", "```python\nprint(1)\n```\n"),
    ):
        with pytest.raises(AssertionError, match=r"print\(1\)"):
            run(text, page)
    with pytest.raises(AssertionError, match="No such"):
        play("$ fullfield nonsense\n")
    with pytest.raises(AssertionError, match="make nonsense"):
        play("$ make nonsense\n")


def test_api_page_documents_every_public_name() -> None:
    text = (ROOT / "docs/api.md").read_text()
    missing = [name for name, home in fullfield._HOME.items() if not re.search(rf":: {home}\.{name}\b", text)]
    assert not missing


def test_every_name_of_the_workbench_is_documented() -> None:
    text = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    missing = [name for name, home in fullfield.workbench._HOME.items() if f":: {home}.{name}\n" not in text]
    assert not missing
