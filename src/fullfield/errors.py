"""The exception tree: everything that fullfield raises on purpose.

    FullfieldError
     ├── ArgumentError     a function has no such argument
     ├── CaptureError      a network or model file cannot be read
     ├── UnsupportedError  a network cannot do what was asked of it
     ├── GeometryError     sizes that do not go together
     ├── BudgetError       the memory allowed is too small
     ├── ImageError        an image, or the place for a result, is unusable
     ├── ResumeError       an earlier run's result cannot be continued
     └── InternalError     fullfield made a mistake of its own

Every text reads ``where: what, with both values`` and ends in a line ``fix:``.
"""

from __future__ import annotations

import re


class FullfieldError(Exception):
    """One clear error: where it happened, what is wrong, how to mend it.

    Args:
        where: file, layer or argument that is at fault.
        what: what is wrong, with the value found and the value wanted.
        fix: what the user can do about it.

    Examples:
        >>> print(FullfieldError("step", "0 is not a positive number", fix="use 1 or more"))
        step: 0 is not a positive number
          fix: use 1 or more
    """

    def __init__(self, where: str, what: str, *, fix: str) -> None:
        place = printable(where).replace("\n", "\\n")
        super().__init__(f"{place}: {printable(what)}\n  fix: {printable(fix)}")
        self.where = where
        self.what = what
        self.fix = fix

    def __reduce__(self) -> tuple[object, ...]:
        """Survive a trip through pickle (worker processes raise these too)."""
        return _rebuild, (type(self), self.where, self.what, self.fix)


def _rebuild(kind: type[FullfieldError], where: str, what: str, fix: str) -> FullfieldError:
    return kind(where, what, fix=fix)


class ArgumentError(FullfieldError, TypeError):
    """A keyword argument that a function does not take."""


class CaptureError(FullfieldError):
    """A network or model file that cannot be read."""


class UnsupportedError(FullfieldError):
    """A network that cannot do what was asked of it."""


class GeometryError(FullfieldError):
    """Sizes that do not go together."""


class BudgetError(FullfieldError):
    """A memory budget too small for the work."""


class ImageError(FullfieldError):
    """An image, or the place for a result, that is unusable."""


class ResumeError(FullfieldError):
    """An earlier run's result that cannot be continued."""


class InternalError(FullfieldError):
    """A mistake of fullfield itself, found before it could make results wrong."""


def out_of_memory(error: BaseException) -> BudgetError | None:
    """The error where the system, or a device, gave no more memory; ``None`` for any other."""
    text = str(error)
    if not (isinstance(error, MemoryError) or any(sign in text for sign in _NO_MEMORY)):
        return None
    return BudgetError(
        "memory",
        f"the system gave no more ({first_line(error)})",
        fix="lower the budget (--budget), raise the limit of the process (ulimit -v), or end other programs",
    )


_NO_MEMORY = (
    "can't allocate memory", "Cannot allocate memory", "not enough memory", "out of memory", "std::bad_alloc",
    "can't start new thread", "failed to map segment",
)  # fmt: skip
# All controls but tab and line feed, separators of lines, changes of the direction of text, and halves of characters.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONG_WORD = re.compile(r"\S{201,}")
_LONG_LINE = re.compile(r".{2001,}")


def printable(text: str) -> str:
    """A text that cannot control a terminal: controls as escapes, words above 200 and lines above 2000 characters cut.

    Examples:
        >>> print(printable("a\\x1b[2Jb"))
        a\\x1b[2Jb
    """
    plain = _CONTROLS.sub(_escape, text)
    shorter = _LONG_WORD.sub(lambda word: f"{word[0][:140]}…{word[0][-40:]}", plain)
    return _LONG_LINE.sub(lambda line: f"{line[0][:1800]} … {line[0][-100:]}", shorter)


def printable_json(text: str) -> str:
    """A JSON document that cannot control a terminal; what it says stays the same."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 characters; its type where it has no text.

    Examples:
        >>> first_line(RuntimeError("mat1 and mat2 shapes cannot be multiplied\\nat line 3"))
        'mat1 and mat2 shapes cannot be multiplied'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]
