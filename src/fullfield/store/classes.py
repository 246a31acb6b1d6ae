"""Finds classes by index or by name."""

from __future__ import annotations

import numpy as np

from fullfield.arguments import nearest
from fullfield.errors import ImageError
from fullfield.store.maps import MapSpec
from fullfield.text import list_text


def find_class(cls: int | str | None, count: int, names: tuple[str, ...] = ()) -> int:
    """Index of a class given by index or name; ``None`` if there is one class only.

    Raises:
        ImageError: no such class, several classes of that name, or ``None`` where there are several.

    Examples:
        >>> find_class("dog", 2, ("cat", "dog")), find_class("0", 2), find_class(None, 1)
        (1, 0, 0)
    """
    if cls is None and count == 1:
        return 0
    found = [index for index, name in enumerate(names) if name == cls]
    if len(found) == 1:
        return found[0]
    if found:
        raise ImageError("class", f"{cls!r} is the name of classes {found}", fix="give the index")
    if isinstance(cls, str) and cls.isdecimal():
        cls = int(cls)  # as a command line gives it
    if isinstance(cls, (int, np.integer)) and not isinstance(cls, bool) and 0 <= cls < count:
        return int(cls)
    raise _no_class(cls, count, names)


def _no_class(cls: object, count: int, names: tuple[str, ...]) -> ImageError:
    """The error for an unknown class; names similar ones."""
    if cls is None:
        return ImageError("class", f"none given, there are {count}", fix="give one, by index or name")
    what = f"{cls!r} is not one of the {count} classes"
    if not isinstance(cls, str):
        return ImageError("class", what, fix=f"give an index in 0..{count - 1}, or a name")
    if not names:
        return ImageError("class", f"{cls!r}: the classes have no names", fix=f"give an index in 0..{count - 1}")
    near = nearest(cls, names)
    some = ", ".join(map(repr, near or names[:5]))
    return ImageError("class", what, fix=f"did you mean {some}?" if near else f"they begin with {some}")


def find_band(spec: MapSpec, cls: int | str | None) -> int:
    """The band of a map that holds a class, given by name or by its index among the network's classes.

    Args:
        spec: of the map.
        cls: may be ``None`` where the map holds one class.

    Raises:
        ImageError: the map does not hold the class, several classes have that name, or it is a map of labels.
    """
    if spec.kind == "labels":
        raise ImageError(
            "class", "a map of labels has no scores of a class", fix="leave the class out, or scan for scores"
        )
    names, classes = spec.class_names or (), spec.classes or tuple(range(spec.shape[0]))
    if classes == tuple(range(len(classes))):
        return find_class(cls, len(classes), names)
    number = int(cls) if isinstance(cls, str) and cls.isdecimal() and cls not in names else cls
    if isinstance(number, (int, np.integer)) and not isinstance(number, bool):
        if number in classes:
            return classes.index(int(number))
        some = list_text([str(each) for each in classes], 8)
        raise ImageError("class", f"{number} is not in the map, which holds {some}", fix="name one of these")
    return find_class(number, len(classes), names)
