"""Classes by index or by name."""

import numpy as np
import pytest

from fullfield.errors import ImageError
from fullfield.store.classes import find_class

NAMES = ("tabby cat", "Golden retriever", "crane", "crane", "7")


@pytest.mark.parametrize(
    ("cls", "index"), [(0, 0), (np.int64(4), 4), ("tabby cat", 0), ("3", 3), ("7", 4), ("Golden retriever", 1)]
)
def test_an_index_or_a_name_finds_its_class(cls: int | str, index: int) -> None:
    assert find_class(cls, 5, NAMES) == index


def test_the_only_class_need_not_be_named() -> None:
    assert find_class(None, 1) == 0
    with pytest.raises(ImageError, match="none given, there are 5"):
        find_class(None, 5, NAMES)


@pytest.mark.parametrize("cls", [-1, 5, True, 1.0, "5"])
def test_an_index_out_of_range_is_refused_with_the_range(cls: object) -> None:
    with pytest.raises(ImageError, match=r"is not one of the 5 classes\n  fix: .*0\.\.4"):
        find_class(cls, 5, NAMES)


@pytest.mark.parametrize(
    ("cls", "fix"),
    [
        ("tabby", "did you mean 'tabby cat'?"),
        ("golden retreiver", "did you mean 'Golden retriever'?"),
        ("RETRIEVER", "did you mean 'Golden retriever'?"),
        ("zzzzz", "they begin with 'tabby cat', 'Golden retriever'"),
    ],
)
def test_an_unknown_name_is_refused_with_its_neighbours(cls: str, fix: str) -> None:
    with pytest.raises(ImageError, match="not one of the 5 classes") as caught:
        find_class(cls, 5, NAMES)
    assert caught.value.fix.startswith(fix)


def test_a_name_of_two_classes_is_refused_with_both() -> None:
    with pytest.raises(ImageError, match=r"name of classes \[2, 3\]"):
        find_class("crane", 5, NAMES)


def test_a_name_where_there_are_none_is_refused() -> None:
    with pytest.raises(ImageError, match="the classes have no names"):
        find_class("cat", 5)
