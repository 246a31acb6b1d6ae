"""ONNX's own cases of single operators: what is read gives their numbers, and what is not is listed with its reason."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from .onnx_node_cases import Outcome, cases, has_float, run  # noqa: TID252 - tests are no package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the cases compute with infinite numbers

DIFFERENT = {
    r"quantizelinear|qlinear|convinteger|matmulinteger": "quantised values are kept as the real numbers that they mean",
    r"castlike.*_(U?INT[24]|FLOAT4E2M1)$": "numbers of 2 and 4 bits are read as those of 8 and 32",
    r"downsample_scales_\w+_align_corners": "ONNX Runtime, too, divides by the whole number of cells",
}
"""Parts of names of cases whose numbers differ, and why."""

REFUSED = {
    r"attention.*past|attention.*nonpad|attention.*padded|ext_cache|linear_attention|causal_conv": "of language models",
    r"training|bernoulli|randomuniformlike": "random, or of training",
    r"cast.*(FLOAT8|FLOAT4|U?INT[24])": "types that torch does not compute in",
    r"uint16|bitwise_not_3d": "no arithmetic of this type in torch",
    r"reversesequence": "other lengths in other windows",
    r"gru": "another form than torch's",
    r"lstm_with_peepholes": "another form than torch's",
    r"scatternd_(multiply|max|min)": "no operator of torch",
    r"maxpool_with_argmax": "its places are counted over the whole batch",
    r"empty_set": "torch reduces no empty tensor",
    r"col2im_5d": "volumes",
    r"scan_sum": "an operator before opset 9",
    r"(blackman|hamming|hann)window": "its function leaves out an attribute",
    r"if_(seq|opt)|loop1\d_seq": "sequences",
}
"""Parts of names of cases that are refused, and why."""

UNREAD = {
    *("BitCast", "DFT", "DeformConv", "MaxUnpool", "MelWeightMatrix", "NonMaxSuppression", "OptionalGetElement"),
    *("OptionalHasElement", "RoiAlign", "STFT", "TensorScatter", "TfIdfVectorizer", "Unique"),
    *("ImageDecoder", "ai.onnx.ml.TreeEnsemble"),
    *("ai.onnx.preview.FlexAttention", "ai.onnx.preview.training.Adagrad", "ai.onnx.preview.training.Adam"),
    "ai.onnx.preview.training.Momentum",
}
"""Operators that are not read: of text, sound, detection, training, and of values of another form than an image's."""


def why(name: str, reasons: dict[str, str]) -> str:
    """The reason that fits the name of a case; empty where none does."""
    return next((reason for part, reason in reasons.items() if re.search(part, name)), "")


@pytest.mark.parametrize("traced", [False, True], ids=["folded", "traced"])
def test_the_cases_of_onnx(traced: bool) -> None:
    outcomes: dict[str, list[tuple[str, Outcome]]] = defaultdict(list)
    for case in cases():
        if has_float(case) or not traced:
            outcome = run(case, traced=traced)
            outcomes[outcome.kind].append((case.name, outcome))
    assert [each for each in outcomes["different"] if not why(each[0], DIFFERENT)] == []
    by_input = r"depends on the pixels; only constants and shapes work there"
    refused = [each for each in outcomes["refused"] if not re.search(by_input, each[1].reason)]
    assert [each for each in refused if not why(each[0], REFUSED)] == []
    unread = {name for _, outcome in outcomes["unread"] for name in outcome.reason.split(", ")}
    assert unread <= UNREAD
    assert len(outcomes["equal"]) >= (1150 if traced else 1450)


def test_a_case_that_gives_other_numbers_is_found() -> None:
    case = next(each for each in cases() if each.name == "test_add")
    assert case.data_sets is not None
    (inputs, outputs), *_ = case.data_sets
    assert run(case, traced=True).kind == "equal"
    case.data_sets = [(inputs, [outputs[0] + 0.01])]
    assert run(case, traced=True) == Outcome("different", "by 0.01")
