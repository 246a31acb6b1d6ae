"""The package as a whole: its public names, and what importing it does not do."""

import ast
import hashlib
import importlib
import inspect
import itertools
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import fullfield

# Makes any import of torch fail, and says so.
NO_TORCH = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch was imported")
sys.meta_path.insert(0, Blocker())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "code",
    [
        "import fullfield; assert fullfield.__version__",
        "import fullfield; dir(fullfield); fullfield.FullfieldError; fullfield.Preprocessing",
        "import fullfield.geometry, fullfield.plan, fullfield.errors, fullfield.capture.preprocessing",
        "import sys; sys.argv = ['fullfield', '--help']; from fullfield.cli import main; main()",
    ],
)
def test_runs_without_torch(code: str) -> None:
    result = run(NO_TORCH + code)
    assert result.returncode == 0, result.stderr


def test_the_torch_check_can_fail() -> None:
    result = run(NO_TORCH + "import fullfield.capture.torch_module")
    assert result.returncode == 1
    assert "torch was imported" in result.stderr


def test_help_of_every_command_needs_no_torch() -> None:
    code = """
from click.testing import CliRunner
from fullfield.cli import main
import click
for name in main.list_commands(click.Context(main)):
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, (name, result.output, result.exception)
"""
    result = run(NO_TORCH + code)
    assert result.returncode == 0, result.stderr


def test_type_checkers_and_python_see_the_same_public_names() -> None:
    tree = ast.parse(Path(fullfield.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert typed == fullfield._HOME
    assert set(fullfield.__all__) == {"__version__", *typed}


@pytest.mark.parametrize("name", sorted(fullfield._HOME))
def test_public_name_leads_to_its_definition(name: str) -> None:
    home = importlib.import_module(fullfield._HOME[name])
    public = getattr(fullfield, name)
    if name in fullfield._LAYERS:
        assert inspect.signature(public) == inspect.signature(getattr(home, name))
    else:
        assert public is getattr(home, name)
    assert inspect.getdoc(getattr(home, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'fullfield' has no attribute 'scann'$"):
        fullfield.scann  # type: ignore[attr-defined]  # noqa: B018


def test_dir_and_star_import_give_the_public_names() -> None:
    assert dir(fullfield) == sorted(fullfield.__all__)
    names: dict[str, object] = {}
    exec("from fullfield import *", names)
    assert set(fullfield.__all__) <= set(names)


def test_a_layer_is_its_verb_whatever_was_imported_before() -> None:
    statements = [
        "import fullfield",
        "from fullfield import capture, convert, verify",
        "import fullfield.capture.torch_module",
        "from fullfield.capture import classifier",
        "import fullfield.convert, fullfield.verify",
        "fullfield.load, fullfield.scan",
    ]
    orders = [list(order) for order in itertools.permutations(statements)]
    code = f"""
import sys, importlib
for order in {orders!r}:
    for name in [n for n in sys.modules if n.partition(".")[0] == "fullfield"]:
        del sys.modules[name]
    scope = {{}}
    for k, statement in enumerate(order):
        exec("import fullfield; " * ("fullfield." in statement) + statement, scope)
        fullfield = sys.modules["fullfield"]
        for verb in ("capture", "convert", "verify"):
            layer = getattr(fullfield, verb)
            assert callable(layer), (verb, order[: k + 1])
            assert layer is importlib.import_module("fullfield." + verb), (verb, order[: k + 1])
"""
    # Every prefix of every order counts; loading the modules anew each time costs more than it finds, so a few suffice.
    result = run(code.replace(repr(orders), repr(orders[:: len(orders) // 24])))
    assert result.returncode == 0, result.stderr


def test_a_layer_passes_its_arguments_on() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        fullfield.capture(None, nonsense=1)  # type: ignore[call-arg,arg-type]
    with pytest.raises(fullfield.CaptureError, match="window"):
        fullfield.capture(importlib.import_module("torch").nn.ReLU())


def test_a_layer_keeps_being_a_package() -> None:
    import fullfield.capture.classifier as module

    assert fullfield.capture.classifier is module  # type: ignore[attr-defined]
    assert fullfield.capture.__doc__
    assert module.Classifier is fullfield.Classifier


@pytest.mark.parametrize("name", ["astronaut.png", "rnet.onnx"])
def test_carried_file_is_the_one_whose_source_is_stated(name: str) -> None:
    digest = hashlib.sha256((files("fullfield") / "data" / name).read_bytes()).hexdigest()
    sources = (Path(__file__).parents[1] / "THIRD_PARTY.md").read_text()
    assert f"src/fullfield/data/{name}" in sources
    assert digest in sources
