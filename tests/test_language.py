"""Plain English and nothing twice: refused idioms, public names defined in two modules, runs of equal lines.

``pytest tests/test_language.py -k planning`` checks the text of one folder.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "tests", "docs", "benchmarks", "scripts")

# Idiom -> what to write instead. A space matches any gap between two words: a line's end, the "#" of a comment, the
# "_" of a name.
IDIOMS = {
    r"ha[sd] it": "as ... does, defines or stores it",
    r"(?:is|are|was|were|be|been) had": "is available, is supported, exists",
    r"h(?:ang|angs|anging|ung) (?:up)?on": "depends on",
    r"(?:go|goes|going|gone|went) on": "continues, resumes",
    r"st(?:and|ands|anding|ood) for": "represents, means, replaces",
    r"beside each(?: other)?": "side by side, next to one another",
    r"of (?:theirs|hers|his|mine|ours|yours)": "their own",
    r"who(?:m|so)?ever": "name the reader, writer or caller",
    r"in vain": "without effect, without result",
    r"wish(?:es|ed|ing)?": "target, request, wanted",
    r"nobody": "nothing, unused, unknown; or name the reader",
    r"(?:lie|lies|lay|lying) at the place": "exists at the path",
    r"turn(?:s|ed|ing)? (?:a)?round": "inverted, reversed, rotated",
    r"at hand": "available, in memory, cached",
    r"step(?:s|ped|ping)? aside": "is renamed, makes room",
    r"(?:become|becomes|became) of": "the result of",
    r"(?:come|comes|came|coming) to nothing": "has no result, is empty",
}
GAP = r"[\s_\"'#*>|]+"
PATTERN = re.compile("|".join(rf"(?<![^\W_]){idiom.replace(' ', GAP)}(?![^\W_])" for idiom in IDIOMS), re.IGNORECASE)

RUN = 30  # equal lines that are one too many


def files(suffix: str, folders: Iterable[str] = FOLDERS) -> list[str]:
    """Paths of the repository's files below its root, this one left out."""
    found = [path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}") if "_build" not in path.parts]
    found += ROOT.glob(f"*{suffix}")
    return sorted(path.relative_to(ROOT).as_posix() for path in found if path != Path(__file__))


def idioms(text: str) -> list[str]:
    """``line: idiom (say ...)`` of each refused idiom of a text."""
    found = []
    for match in PATTERN.finditer(text):
        words = " ".join(re.split(GAP, match[0]))
        say = next(say for idiom, say in IDIOMS.items() if re.fullmatch(idiom, words, re.IGNORECASE))
        found.append(f"{text.count(chr(10), 0, match.start()) + 1}: {words!r} (say: {say})")
    return found


@pytest.mark.parametrize("name", [*files(".py"), *files(".md")])
def test_text_is_plain_english(name: str) -> None:
    assert "\n".join(f"{name}:{line}" for line in idioms((ROOT / name).read_text())) == ""


@pytest.mark.parametrize(
    "text",
    [
        "as Caffe has it",
        "it is not to be had",
        "hangs on the weights",
        "the run\n    # goes on",
        '"the run goes "\n        "on"',
        "def test_a_run_goes_on() -> None:",
        "``...`` standing for anything",
        "blocks beside each other",
        "an image of theirs",
        "by whomever",
        "asked in vain",
        "what was wished",
        "that nobody wants",
        "what lies at the place",
        "white at 0 is turned round",
        "is still at hand",
        "an old folder steps aside",
        "what becomes of each",
        "the search came to nothing",
    ],
)
def test_an_idiom_is_found(text: str) -> None:
    assert len(idioms(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "a wishlist",
        "it has items",
        "hash it",
        "go one up",
        "understands formats",
        "by hand",
        "rounds up",
        "the beholder",
    ],
)
def test_plain_english_passes(text: str) -> None:
    assert not idioms(text)


def test_the_line_and_the_better_word_are_named() -> None:
    assert idioms("one\ntwo hangs on three") == ["2: 'hangs on' (say: depends on)"]


def test_every_idiom_has_an_example() -> None:
    examples = next(mark for mark in test_an_idiom_is_found.pytestmark if mark.name == "parametrize").args[1]  # type: ignore[attr-defined]
    text = "\n".join(examples)
    unused = [idiom for idiom in IDIOMS if not re.search(idiom.replace(" ", GAP), text, re.IGNORECASE)]
    assert not unused


# --- one name for one thing ---


def public_types(source: str) -> Iterator[str]:
    """Names of the public classes and type aliases that a module defines at its top level."""
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in names if re.fullmatch(r"[A-Z]\w*[a-z]\w*", name))


def defined_twice(modules: Mapping[str, str]) -> dict[str, list[str]]:
    """Public class or type alias -> the modules that define it, where these are several."""
    homes: dict[str, list[str]] = defaultdict(list)
    for module, source in modules.items():
        for name in public_types(source):
            homes[name].append(module)
    return {name: found for name, found in homes.items() if len(found) > 1}


def sources(folders: Iterable[str]) -> dict[str, str]:
    return {name: (ROOT / name).read_text() for name in files(".py", folders)}


def test_no_public_class_or_alias_is_defined_twice() -> None:
    assert defined_twice(sources(["src"])) == {}


@pytest.mark.parametrize("line", ["class Grid: ...", "Grid = tuple[int, int]", "Grid: TypeAlias = 'int | str'"])
def test_a_second_definition_is_found(line: str) -> None:
    assert defined_twice({"a": "class Grid:\n    x = 1\n", "b": line}) == {"Grid": ["a", "b"]}


@pytest.mark.parametrize(
    "line", ["class _Grid: ...", "GRID = 3", "from a import Grid", "def f():\n    class Grid: ..."]
)
def test_private_names_constants_and_imports_define_nothing(line: str) -> None:
    assert not defined_twice({"a": "class Grid: ...", "b": line, "c": line})


# --- nothing written twice ---


def lines_of(source: str) -> list[tuple[int, str]]:
    """Line number and text, without indentation, of all lines but blank ones and imports."""
    imports = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    numbered = enumerate((line.strip() for line in source.splitlines()), 1)
    return [(number, line) for number, line in numbered if line and number not in imports]


def equal_runs(modules: Mapping[str, str], length: int = RUN) -> dict[tuple[str, str], tuple[int, int]]:
    """Two modules, or one and itself -> first lines of their first run of ``length`` equal lines."""
    seen: dict[tuple[str, ...], list[tuple[str, int, int]]] = defaultdict(list)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for module, source in modules.items():
        lines = lines_of(source)
        for index in range(len(lines) - length + 1):
            run = tuple(line for _, line in lines[index : index + length])
            for other, position, number in seen[run]:
                if other != module or index - position >= length:
                    found.setdefault((other, module), (number, lines[index][0]))
            seen[run].append((module, index, lines[index][0]))
    return found


def test_no_thirty_lines_are_written_twice() -> None:
    assert equal_runs(sources(["src", "tests"])) == {}


def block(first: int, last: int) -> str:
    return "\n".join(f"x{number} = {number}\n" for number in range(first, last))


def test_equal_lines_are_found_across_blanks_imports_and_indentation() -> None:
    one = "import a\n" + block(0, 40)
    other = "if True:\n    from b import (\n        c,\n    )\n" + block(5, 35).replace("x", "    x")
    assert equal_runs({"one": one, "other": other}) == {("one", "other"): (12, 5)}
    assert not equal_runs({"one": one, "other": block(5, 34)})


def test_a_file_is_compared_with_itself() -> None:
    assert set(equal_runs({"one": block(0, 30) + "y = 1\n" + block(0, 30)})) == {("one", "one")}
    assert not equal_runs({"one": "x = 1\n" * 59})
