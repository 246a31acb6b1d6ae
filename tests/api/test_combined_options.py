"""Options in any combination: in exact mode the scores are the crops'; in every mode how a scan runs does not show.

The oracle cuts windows out of the padded image by hand, and runs the original model on them in float64.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import fullfield
from fullfield import Compute, Encoding, Scores, Where

WINDOW, HEIGHT, WIDTH, CLASSES = 9, 31, 37, 4
PAD = {"reflect": "reflect", "replicate": "edge", "constant": "constant"}


@pytest.fixture(scope="module")
def model() -> fullfield.Model:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1), nn.Tanh()]
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 16, CLASSES)).double().eval()
    return fullfield.load(module, window=WINDOW)


@pytest.fixture(scope="module")
def image() -> NDArray[np.float64]:
    return np.random.default_rng(1).random((HEIGHT, WIDTH, 2))


def windows(image: NDArray[np.float64], step: tuple[int, int], edge: str, region: tuple[int, int, int, int]) -> Any:
    """The windows of a region, and the part of each that lies in the image: ``(rows, columns)`` lists of both."""
    top, bottom, left, right = region
    if edge == "valid":
        rows, columns = range(top, bottom - WINDOW + 1, step[0]), range(left, right - WINDOW + 1, step[1])
        margin = 0
    else:
        margin = WINDOW // 2
        rows, columns = range(top, bottom, step[0]), range(left, right, step[1])
    more = WINDOW + max(step)
    padded = np.pad(image, ((margin, more), (margin, more), (0, 0)), mode=PAD.get(edge, "constant"))  # type: ignore[call-overload]
    cut = [[padded[y : y + WINDOW, x : x + WINDOW] for x in columns] for y in rows]
    inside = [
        [
            (slice(max(0, y - margin), y - margin + WINDOW), slice(max(0, x - margin), x - margin + WINDOW))
            for x in columns
        ]
        for y in rows
    ]
    return cut, inside


def crops(model: fullfield.Model, cut: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """The original model on every window. Shape: ``(classes, rows, columns)``"""
    flat = np.stack([window for row in cut for window in row]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        scores = model(torch.from_numpy(np.ascontiguousarray(flat))).numpy()
    return scores.T.reshape(CLASSES, len(cut), len(cut[0]))


def stored(scores: NDArray[np.float64], encoding: Encoding) -> NDArray[np.float64]:
    """What an encoding makes of scores, in float64."""
    if encoding.labels:
        return scores.argmax(axis=0)[None].astype(np.float64)
    if encoding.activation == "softmax":
        raised = np.exp(scores - scores.max(axis=0))
        scores = raised / raised.sum(axis=0)
    elif encoding.activation == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    return scores if encoding.classes is None else scores[[int(cls) for cls in encoding.classes]]


ENCODINGS = {
    Encoding(): 1e-9,
    Encoding(classes=(2, 0)): 1e-9,
    Encoding(activation="softmax"): 1e-9,
    Encoding(activation="sigmoid", dtype="float32", classes=(3,)): 1e-6,
    Encoding(activation="softmax", dtype="uint8"): 0.5 / 254 + 1e-9,
    Encoding(labels=True): 0.0,
}


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Every option of a scan, each drawn on its own."""
    edge = draw(st.sampled_from(["valid", "reflect", "replicate", "constant"]))
    top, left = draw(st.integers(0, 8)), draw(st.integers(0, 8))
    bottom, right = draw(st.integers(top + WINDOW, HEIGHT)), draw(st.integers(left + WINDOW, WIDTH))
    region = draw(st.sampled_from([None, (top, bottom, left, right)]))
    mask = draw(st.sampled_from([None, (draw(st.integers(0, 12)), draw(st.integers(0, 12)))]))
    return {
        "step": draw(st.tuples(st.integers(1, 5), st.integers(1, 5))),
        "edge": edge,
        "region": region,
        "mask": mask,
        "encoding": draw(st.sampled_from(list(ENCODINGS))),
        "tile": draw(st.sampled_from([None, (1, 3), (4, 2), (50, 50)])),
        "method": draw(st.sampled_from(["auto", "atrous", "fragments", "shifted"])),
        "budget": draw(st.sampled_from([None, "60MB"])),
        "on_disk": draw(st.booleans()),
    }


def mask_of(corner: tuple[int, int] | None) -> NDArray[np.uint8] | None:
    """A mask that marks everything from a corner on."""
    if corner is None:
        return None
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[corner[0] :, corner[1] :] = 1
    return mask


def scan(model: fullfield.Model, image: NDArray[np.float64], chosen: dict[str, Any], mode: Any) -> NDArray[np.floating]:
    """The scores of a scan with these options, in memory or by way of a store."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "map.zarr" if chosen["on_disk"] else None
        found = fullfield.scan(
            model,
            image,
            step=chosen["step"],
            mode=mode,
            where=Where(region=chosen["region"], mask=mask_of(chosen["mask"]), edge=chosen["edge"]),
            encoding=chosen["encoding"],
            compute=Compute(tile=chosen["tile"], method=chosen["method"], budget=chosen["budget"]),
            output=output,
        )
        assert isinstance(found, Scores)
        return np.array(found.array)


@settings(max_examples=60)
@given(chosen=options())
def test_exact_scores_are_the_crops_whatever_else_is_asked_for(
    model: fullfield.Model, image: NDArray[np.float64], chosen: dict[str, Any]
) -> None:
    region = chosen["region"] or (0, HEIGHT, 0, WIDTH)
    cut, inside = windows(image, chosen["step"], chosen["edge"], region)
    wanted = stored(crops(model, cut), chosen["encoding"])
    mask = mask_of(chosen["mask"])
    if mask is not None:
        touched = np.array([[mask[part].any() for part in row] for row in inside])
        if not touched.any():
            with pytest.raises(fullfield.ImageError, match="none of the map's"):
                scan(model, image, chosen, "exact")
            return
        wanted = np.where(touched, wanted, np.nan)
    found = scan(model, image, chosen, "exact")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    spread = 1.0 if chosen["encoding"] != Encoding() else np.ptp(wanted[~np.isnan(wanted)])
    assert np.nanmax(np.abs(found - wanted), initial=0.0) <= ENCODINGS[chosen["encoding"]] * max(1.0, spread)


@settings(max_examples=30)
@given(chosen=options(), mode=st.sampled_from(["context", 1, 2, (1, 4)]))
def test_in_every_mode_how_a_scan_runs_does_not_show(
    model: fullfield.Model, image: NDArray[np.float64], chosen: dict[str, Any], mode: Any
) -> None:
    plain = chosen | {"tile": None, "method": "atrous", "budget": None, "on_disk": False}
    plain |= {"mask": None, "encoding": Encoding()}
    wanted = stored(scan(model, image, plain, mode).astype(np.float64), chosen["encoding"])
    if chosen["method"] == "fragments":
        chosen = chosen | {"method": "auto"}  # where it has no meaning it is refused, which has its own test
    found = None
    with contextlib.suppress(fullfield.ImageError):  # of a mask that touches no window; the law above says when
        found = scan(model, image, chosen, mode)
    if found is None:
        assert chosen["mask"] is not None
        return
    there = ~np.isnan(found)
    assert there.any()
    assert np.abs(found - wanted)[there].max() <= 2 * ENCODINGS[chosen["encoding"]]
