"""The exception tree."""

import json
import pickle

import pytest

from fullfield import errors
from fullfield.errors import FullfieldError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FullfieldError)]


def test_text_says_where_what_and_how_to_mend_it() -> None:
    error = errors.GeometryError("features.3 (conv2d)", "kernel 3, stride 3 does not fit 7 cells", fix="pad by 1")
    assert str(error) == "features.3 (conv2d): kernel 3, stride 3 does not fit 7 cells\n  fix: pad by 1"


def test_the_tree_has_one_root() -> None:
    names = {
        "ArgumentError",
        "CaptureError",
        "UnsupportedError",
        "GeometryError",
        "BudgetError",
        "ImageError",
        "ResumeError",
        "InternalError",
    }
    assert {kind.__name__ for kind in KINDS} == {"FullfieldError"} | names
    assert all(kind.__bases__ in ((Exception,), (FullfieldError,), (FullfieldError, TypeError)) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_the_trip_to_another_process(kind: type[FullfieldError]) -> None:
    sent = kind("model.onnx", "is empty", fix="download it again")
    came = pickle.loads(pickle.dumps(sent))
    assert type(came) is kind
    assert (came.where, came.what, came.fix) == ("model.onnx", "is empty", "download it again")
    assert str(came) == str(sent)


def test_json_that_is_printed_has_no_controls_and_says_the_same() -> None:
    text = errors.printable_json('{"name": "a\x9bb\u202ec"}')
    assert text == r'{"name": "a\u009bb\u202ec"}'
    assert json.loads(text) == {"name": "a\x9bb\u202ec"}
