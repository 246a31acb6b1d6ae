"""Every code block of the README and the documentation runs, in the order of its page.

``python`` blocks of a page share their names, and print the ``text`` block that stands right under them. In
``console`` blocks the lines after ``$`` run, and the text under them is what they print, ``...`` matching
anything. ``make`` and ``pip`` lines are checked for what they name.
"""

import ast
import contextlib
import doctest
import io
import pkgutil
import re
import shlex
import shutil
import tomllib
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

import fullfield
import fullfield.workbench
from fullfield.cli import main
from fullfield.importers.caffe.importer import read_network
from fullfield.importers.caffe.writer import save_caffe
from fullfield.importers.checkpoints.packages import timm_package

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CAFFE_PAGE = ROOT / "docs/formats.md"
MODELS_PAGE = ROOT / "docs/models.md"
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
COMPLETE = {"tutorial.md"}  # whose text blocks are all that the page prints
# Blocks that nothing can run: output alone, and what Sphinx itself reads.
INERT = {"text", "{toctree}", "{eval-rst}", "{command-help}"}
# What a page may import of fullfield: what users import; under Inside, each room's own package.
PUBLIC = {"fullfield", "fullfield.layers", "fullfield.workbench", "fullfield.importers.caffe"}
ROOMS = {
    "geometry.md": {"fullfield.geometry"},
    "lowering.md": {"fullfield.canonical.pipeline", "fullfield.lower.program"},
}
CAFFE = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 27 dim: 27 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
        convolution_param { num_output: 8 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "fc2" type: "InnerProduct" bottom: "pool1" top: "fc2"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc2" top: "prob" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the blocks, with a model and a photograph; 80 columns."""
    data = files("fullfield") / "data"
    shutil.copy(str(data / "rnet.onnx"), tmp_path / "model.onnx")
    shutil.copy(str(data / "astronaut.png"), tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in (CAFFE_PAGE, MODELS_PAGE)], ids=lambda page: page.name
)
def test_code_blocks_run(page: Path, folder: Path) -> None:
    run(page.read_text(), page.name)


def test_caffe_blocks_run(folder: Path) -> None:
    """Its files need the importer's own writer."""
    (folder / "deploy.prototxt").write_text(CAFFE)
    network = read_network(folder / "deploy.prototxt")  # no weights: the fillers draw them
    save_caffe(network, folder / "written.prototxt", folder / "weights.caffemodel", surgery=False)
    run(CAFFE_PAGE.read_text(), CAFFE_PAGE.name)


def test_blocks_for_checkpoints_run(folder: Path) -> None:
    """They import timm, for which there is no torchvision here."""
    timm_package("test")
    run(MODELS_PAGE.read_text(), MODELS_PAGE.name)


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


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_dotted_names_of_a_page_exist(page: Path) -> None:
    named = set(re.findall(r"(?:`|auto\w+:: )(fullfield\.[\w.]*\w)", page.read_text()))
    assert {name for name in named if not resolves(name)} == set()


def test_a_wrong_dotted_name_is_found() -> None:
    assert resolves("fullfield.engine.run")
    assert resolves("fullfield.Scores.at")
    assert not resolves("fullfield.engine.stream")
    assert not resolves("fullfield.Scores.hat")


def test_the_install_page_lists_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", (ROOT / "docs/install.md").read_text(), re.MULTILINE)
    assert dict(rows).keys() == extras.keys()
    for name, brings in rows:
        packages = {re.split(r"[\[><=]", package)[0] for package in extras[name]}
        assert name == "all" or packages <= set(re.split(r", ", brings)), name


MENTIONED = re.compile(r"(?<![\w/.-])(?:src|tests|docs|benchmarks|scripts|\.ci)/[\w./-]*\w")


def missing_paths(text: str) -> list[str]:
    """Paths of the repository that a text names and that do not exist."""
    return [name for name in MENTIONED.findall(text) if not (ROOT / name).exists()]


@pytest.mark.parametrize("name", [*sorted(path.name for path in ROOT.glob("*.md")), "Makefile", "docs"])
def test_paths_that_a_text_names_exist(name: str) -> None:
    text = "\n".join(page.read_text() for page in PAGES) if name == "docs" else (ROOT / name).read_text()
    built = ("docs/_build",)
    assert [path for path in missing_paths(text) if not path.startswith(built)] == []


def test_a_missing_path_is_found() -> None:
    assert missing_paths("see tests/io/test_none.py, docs/index.md and src/fullfield/errors.py.") == [
        "tests/io/test_none.py"
    ]


def imported(text: str) -> set[str]:
    """Modules of fullfield from which the blocks of a page import."""
    found = set()
    for kind, body, _ in BLOCK.findall(text):
        for node in ast.walk(ast.parse(body if kind == "python" else "")):
            if isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "fullfield"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_import_public_modules_only(page: Path) -> None:
    assert imported(page.read_text()) <= PUBLIC | ROOMS.get(page.name, set())


def test_an_internal_import_is_found() -> None:
    text = "```python\nimport fullfield\nfrom fullfield.image.raster import ImageMetadata\n```\n"
    assert imported(text) - PUBLIC == {"fullfield.image.raster"}


def pages_of(index: str) -> list[str]:
    """Names in the tables of contents of a page."""
    return [
        name
        for kind, body, _ in BLOCK.findall(index)
        if kind == "{toctree}"
        for name in re.findall(r"^[a-z]+$", body, re.M)
    ]


def test_every_page_is_in_one_of_five_groups() -> None:
    index = (ROOT / "docs/index.md").read_text()
    assert re.findall(r"^:caption: (.*)$", index, re.MULTILINE) == [
        "Start",
        "How to",
        "Reference",
        "Workbench",
        "Inside",
    ]
    assert sorted(pages_of(index)) == sorted(page.stem for page in PAGES if page.stem not in ("README", "index"))


@pytest.mark.parametrize("package", [fullfield, fullfield.workbench], ids=lambda package: package.__name__)
def test_every_public_name_is_documented_once(package: ModuleType) -> None:
    text = "".join(page.read_text() for page in PAGES)
    documented = re.findall(rf"^\.\. auto\w+:: {package.__name__}\.(\w+)$", text, re.MULTILINE)
    assert sorted(documented) == sorted(package._HOME)
