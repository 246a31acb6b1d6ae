"""What every public verb, record and value has in common."""

import inspect
from importlib.resources import files

import pytest

import fullfield
from fullfield import ArgumentError, Compute, Encoding, Where

MODEL = str(files("fullfield") / "data" / "rnet.onnx")
IMAGE = str(files("fullfield") / "data" / "astronaut.png")
VERBS = [name for name in fullfield.__all__ if inspect.isfunction(getattr(fullfield, name))]


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_names_an_argument_that_it_does_not_take(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name}: has no argument 'zzz'"):
        getattr(fullfield, name)(zzz=1)


@pytest.mark.parametrize("record", [Where, Encoding, Compute, fullfield.Preprocessing, fullfield.Detections])
def test_every_record_names_a_field_that_it_does_not_have(record: type) -> None:
    with pytest.raises(ArgumentError, match=f"{record.__name__}: has no argument 'zzz'"):
        record(zzz=1)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"where": {"mask": "a.png"}}, r"where: \{'mask': 'a.png'\} is no Where\n  fix: write where=Where\(...\)"),
        ({"encoding": "uint8"}, r"encoding: 'uint8' is no Encoding\n  fix: write encoding=Encoding\(...\)"),
        ({"compute": "2GB"}, r"compute: '2GB' is no Compute\n  fix: write compute=Compute\(...\)"),
        ({"output": 3}, r"output: 3 is no path"),
    ],
)
def test_something_else_in_a_records_place_is_refused(given: dict[str, object], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        fullfield.scan(MODEL, IMAGE, **given)  # type: ignore[call-overload]


def test_what_is_looked_at_is_short_as_text_and_html_in_a_notebook() -> None:
    image = fullfield.open(IMAGE)
    scores = fullfield.scan(MODEL, image, step=60, verify=3)
    plan = fullfield.plan(MODEL, image, step=60)
    tuning = fullfield.tune(MODEL, image, step=60, samples=3)
    found = fullfield.find_foreground(IMAGE)
    assert repr(image) == f"ArrayRaster({IMAGE!r}, 512x512 px, 3 channels, uint8)"
    for value in (scores, scores.certificate, plan, plan.table, tuning, found, image, Where(), Encoding(labels=True)):
        assert len(repr(value)) <= 240
        assert len(repr(value).splitlines()) == 1
    for value in (
        scores,
        scores.certificate,
        plan,
        plan.table,
        tuning,
        fullfield.inspect(MODEL),
        fullfield.info(IMAGE),
    ):
        assert value._repr_html_().startswith(("<pre>", "<table>"))
    assert repr(Encoding(labels=True)) == "Encoding(labels=True)"
