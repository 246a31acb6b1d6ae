"""Parses the text of a pattern to its syntax tree. The only module that imports Lark."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NoReturn

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken, v_args
from lark.tree import Meta

from fullfield.workbench.pattern.grammar import GRAMMAR, SPOKEN
from fullfield.workbench.pattern.syntax import (
    Argument,
    GroupNode,
    Item,
    LayerNode,
    LiteralValue,
    Option,
    Span,
    error_at,
)

_DEEPEST = 32
_LONGEST = 100_000


def parse(text: str) -> tuple[Item, ...]:
    """The items of a pattern in their order.

    Raises:
        CaptureError: the text is not a pattern; the error has line, column, and what was expected there.
    """
    if len(text) > _LONGEST:
        raise error_at(
            text, (_LONGEST, _LONGEST + 1), f"is longer than {_LONGEST} characters", fix="fold repeats: [...]*3"
        )
    if not text.strip():
        raise error_at(text, (0, 1), "is empty", fix="begin with INPUT(3x224x224) -> ...")
    _check_depth(text)
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        _refuse(text, error)
    return tuple(_Reader().transform(tree))


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def _check_depth(text: str) -> None:
    """Raises where brackets are nested more than ``_DEEPEST`` deep."""
    depth = 0
    for found in re.finditer(r"#[^\n]*|[\[\]]", text):
        depth += {"[": 1, "]": -1}.get(found[0], 0)
        if depth > _DEEPEST:
            raise error_at(text, found.span(), f"opens more than {_DEEPEST} brackets", fix="write the pattern flatter")


def _refuse(text: str, error: UnexpectedInput) -> NoReturn:
    """Raises Lark's error in the terms of the pattern language."""
    if isinstance(error, UnexpectedCharacters):
        at, found = error.pos_in_stream or 0, text[error.pos_in_stream or 0]
        allowed = error.allowed or set()
        what = f"{found!r} has no meaning here; {_expected(allowed)}"
        raise error_at(text, (at, at + 1), what, fix=_hint(found, allowed))
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        start, wanted = error.token.start_pos or 0, error.accepts or error.expected
        what = f"{_expected(wanted)}, not {str(error.token)!r}"
        raise error_at(text, (start, start + len(error.token)), what, fix=_hint(str(error.token), wanted))
    assert isinstance(error, (UnexpectedToken, UnexpectedEOF))
    end = len(text.rstrip())
    needed = getattr(error, "accepts", None) or error.expected
    raise error_at(text, (end, end + 1), f"the pattern ends, {_expected(needed)}", fix="finish it there")


def _expected(terminals: Any) -> str:
    """The expected terminals in words."""
    words = [spoken for name, spoken in SPOKEN.items() if name in terminals]
    layer = "_OPEN" in terminals and "NAME" in terminals
    words = ["a layer" if layer and w == "a name" else w for w in words]
    return "expected " + (
        " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) or "nothing more"
    )


def _hint(found: str, wanted: Any) -> str:
    """A fix for the unexpected text."""
    if "_LPAR" in wanted and (found[0].isdigit() or found == "["):
        return "use ( ) for a layer's numbers and [ ] for a group"
    if "_ARROW" in wanted and (found[0].isalpha() or found in "[,;/+|"):
        return "join layers with ->"
    if found in ("-", ">", "=", "=>", "–", "—", "⟶", ">>"):
        return "join layers with ->"
    if found in (".", "…"):
        return "write every layer out, or fold them: [CONV(64) -> RELU]*2"
    if found in ("{", "}", "<"):
        return "use ( ) for a layer's numbers and [ ] for a group"
    if found == "?":
        return "write ? before the repeat: [CONV -> RELU]?*2"
    return "correct it there: a pattern reads INPUT(3x32x32) -> [CONV(16) -> RELU]*2 -> POOL -> FC(10)"


def _span(meta: Meta) -> Span:
    return meta.start_pos, meta.end_pos


@v_args(meta=True)
class _Reader(Transformer[Token, Any]):
    """Turns Lark's rules into the nodes of ``syntax``; each method has the name of its rule."""

    def start(self, meta: Meta, items: list[Item]) -> list[Item]:
        return items

    def item(self, meta: Meta, parts: list[Any]) -> Item:
        (body, presence), *rest = parts
        return Item(body, rest[0] if rest else (1,), presence, _span(meta))

    def layer(self, meta: Meta, parts: list[Any]) -> tuple[LayerNode, None]:
        arguments = next((p for p in parts[1:] if isinstance(p, list)), [])
        name = parts[0]
        return LayerNode(str(name).upper(), tuple(arguments), (name.start_pos, name.end_pos)), None

    def optional_layer(self, meta: Meta, parts: list[Any]) -> tuple[LayerNode, tuple[bool, ...]]:
        presence = next((p for p in parts[1:] if isinstance(p, tuple)), ())
        return self.layer(meta, parts)[0], presence

    def group(self, meta: Meta, items: list[Item]) -> tuple[GroupNode, None]:
        return GroupNode(tuple(items), _span(meta)), None

    def optional_group(self, meta: Meta, parts: list[Any]) -> tuple[GroupNode, tuple[bool, ...]]:
        presence = parts.pop() if isinstance(parts[-1], tuple) else ()
        return self.group(meta, parts)[0], presence

    def presence(self, meta: Meta, words: list[Token]) -> tuple[bool, ...]:
        return tuple(_flag(word) for word in words)

    def repeat(self, meta: Meta, counts: list[Token]) -> tuple[int | float, ...]:
        return tuple(_number(count) for count in counts)

    def arguments(self, meta: Meta, found: list[Argument]) -> list[Argument]:
        return found

    def positional(self, meta: Meta, options: list[Token]) -> Argument:
        return Argument(None, tuple(map(_option, options)), _span(meta))

    def keyword(self, meta: Meta, parts: list[Token]) -> Argument:
        return Argument(str(parts[0]).lower(), tuple(map(_option, parts[1:])), _span(meta))


def _option(token: Token) -> Option:
    return Option(_literal(token), (token.start_pos or 0, token.end_pos or 0))


def _literal(token: Token) -> LiteralValue:
    if token.type == "DIMS":
        return tuple(int(n) for n in re.findall(r"\d+", token))
    if token.type == "YESNO":
        return _flag(token)
    return _number(token) if token.type == "NUMBER" else str(token).lower()


def _number(token: str) -> int | float:
    return int(token) if re.fullmatch(r"[+-]?\d{1,18}", token) else float(token)


def _flag(token: str) -> bool:
    return token.lower() in ("yes", "on", "true")
