"""The package as a whole: its public names, and what importing it does not do."""

import ast
import hashlib
import importlib
import inspect
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import fullfield
from tests.processes import PATIENCE_S

VERBS = sorted(name for name in fullfield._HOME if name.islower())

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
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.mark.parametrize(
    "code",
    [
        "import fullfield; assert fullfield.__version__",
        "import fullfield; dir(fullfield); fullfield.FullfieldError; fullfield.Preprocessing",
        "import fullfield.geometry, fullfield.planning, fullfield.errors, fullfield.model.preprocessing",
        "import sys; sys.argv = ['fullfield', '--help']; from fullfield.cli import main; main()",
    ],
)
def test_runs_without_torch(code: str) -> None:
    result = run(NO_TORCH + code)
    assert result.returncode == 0, result.stderr


def test_the_torch_check_can_fail() -> None:
    result = run(NO_TORCH + "import fullfield.model.torch_export")
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
    assert public is getattr(home, name)
    assert inspect.getdoc(getattr(home, name))


@pytest.mark.parametrize(
    "code",
    [
        "fullfield.layers.LocallyConnected2d",
        "net = fullfield.workbench.build('INPUT(1x8x8) -> CONV(2, 3) -> FC(3)'); fullfield.workbench.describe(net)",
    ],
)
def test_a_public_package_needs_no_import_of_its_own(code: str) -> None:
    result = run(f"import fullfield; {code}")
    assert result.returncode == 0, result.stderr


def test_the_workbench_is_imported_without_torch_and_without_its_extras() -> None:
    code = """
import fullfield, sys
assert "build" in dir(fullfield.workbench)
assert not {"torch", "scipy", "lark"}.intersection(sys.modules)
try:
    fullfield.workbench.biuld
except AttributeError as error:
    assert str(error) == "module 'fullfield.workbench' has no attribute 'biuld'"
else:
    raise AssertionError
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", fullfield.workbench.__all__)
def test_a_name_of_the_workbench_leads_to_its_definition(name: str) -> None:
    home = importlib.import_module(fullfield.workbench._HOME[name])
    assert getattr(fullfield.workbench, name) is getattr(home, name)
    assert inspect.getdoc(getattr(home, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'fullfield' has no attribute 'scann'$"):
        fullfield.scann  # type: ignore[attr-defined]  # noqa: B018


def test_dir_and_star_import_give_the_public_names() -> None:
    assert dir(fullfield) == sorted(fullfield.__all__)
    names: dict[str, object] = {}
    exec("from fullfield import *", names)
    assert set(fullfield.__all__) <= set(names)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_a_function_with_its_own_help(verb: str) -> None:
    function = getattr(fullfield, verb)
    assert inspect.isfunction(function)
    assert function.__name__ == verb
    assert (inspect.getdoc(function) or "").strip()


def test_no_package_has_the_name_of_a_verb() -> None:
    packages = {path.parent.name for path in Path(fullfield.__file__).parent.glob("*/__init__.py")}
    assert packages
    assert packages.isdisjoint(fullfield.__all__)


def test_verbs_stay_functions_whatever_is_imported() -> None:
    code = f"""
import pkgutil, importlib, inspect
import fullfield
for module in pkgutil.iter_modules(fullfield.__path__, "fullfield."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for verb in {VERBS!r}:
    assert inspect.isfunction(getattr(fullfield, verb)), verb
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["astronaut.png", "rnet.onnx"])
def test_carried_file_is_the_one_whose_source_is_stated(name: str) -> None:
    digest = hashlib.sha256((files("fullfield") / "data" / name).read_bytes()).hexdigest()
    sources = (Path(__file__).parents[1] / "THIRD_PARTY.md").read_text()
    assert f"src/fullfield/data/{name}" in sources
    assert digest in sources
