"""Cost constants of a machine, from what was measured on it. Imports no torch.

The built-in constants were fitted to whole networks on one machine. On another one each is multiplied by how much more
the same short measurement takes there, in multiply-adds of that machine:

    constant = built in * (t / t_mac) / (t0 / t0_mac)

where ``t`` and ``t_mac`` are seconds here, of one such event and of one multiply-add, and ``t0`` those that were
measured where the built-in constants were fitted. What a short measurement leaves out, such as values that stay in
caches from one layer to the next, it leaves out on both machines: on that one, constants that were set to the times of
such measurements gave slower plans (DenseNet-121 at step 32: by 15 %, ``macs_per_call`` 1e6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fullfield.planning.constants import CostConstants

_LIMITS = {  # of a constant over the built-in one
    "macs_per_byte": (1 / 8, 32.0),
    "macs_per_fresh_byte": (1 / 8, 32.0),
    "macs_per_call": (1 / 8, 64.0),
    "macs_per_tile": (1 / 8, 64.0),
    "macs_per_operator": (1 / 8, 64.0),
    "macs_per_prepared_call": (1 / 8, 64.0),
    "pointwise": (1 / 4, 8.0),
    "depthwise": (1 / 4, 8.0),
    "dilated": (1 / 4, 8.0),
    "linear": (1 / 4, 8.0),
}


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 < value < math.inf


@dataclass(frozen=True)
class MachineCosts:
    """What one engine takes on one machine, in seconds.

    Args:
        mac_s: a multiply-add of a dense convolution.
        pointwise_s, depthwise_s, dilated_s, linear_s: one of another kind (``MacKinds``).
        byte_s: to write a byte of a value that is larger than the caches of a core.
        fresh_byte_s: to get a byte of memory from the system.
        call_s: to call an operator.
        tile_s: to prepare, hand over and write a tile.
    """

    mac_s: float
    pointwise_s: float
    depthwise_s: float
    dilated_s: float
    linear_s: float
    byte_s: float
    fresh_byte_s: float
    call_s: float
    tile_s: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not _is_positive(value):
                raise ValueError(f"{name} is {value!r}")

    def over(self, other: MachineCosts) -> dict[str, float]:
        """Each cost in multiply-adds, over that of another machine; of each constant that is measured."""
        here, there = ({k: v / costs.mac_s for k, v in asdict(costs).items()} for costs in (self, other))
        ratio = {name: here[name] / there[name] for name in here}
        return {
            "macs_per_byte": ratio["byte_s"],
            "macs_per_fresh_byte": ratio["fresh_byte_s"],
            "macs_per_call": ratio["call_s"],
            "macs_per_tile": ratio["tile_s"],
            "macs_per_operator": ratio["tile_s"],  # compilers and interpreters are alike in what they do
            "macs_per_prepared_call": ratio["tile_s"],
            "pointwise": ratio["pointwise_s"],
            "depthwise": ratio["depthwise_s"],
            "dilated": ratio["dilated_s"],
            "linear": ratio["linear_s"],
        }


# Of the machine on which the built-in constants were fitted (AMD EPYC with AVX-512, one thread, float32, 8 ps a
# multiply-add), in multiply-adds; fresh memory in pages of 4 KB, and in pages of 2 MB.
_REFERENCE = {
    "torch": MachineCosts(1.0, 1.06, 5.5, 0.88, 1.12, 5.1, 46.0, 3.6e6, 6e6),
    "openvino": MachineCosts(1.0, 1.03, 7.1, 0.86, 1.03, 4.7, 46.0, 7.5e5, 5.6e6),
    "onnxruntime": MachineCosts(1.0, 1.04, 11.5, 0.86, 1.08, 4.5, 46.0, 5.4e5, 5.5e6),
}
_HUGE_PAGES_FRESH = 2.5


def reference_costs(engine: str, *, huge_pages: bool) -> MachineCosts:
    """The costs, in multiply-adds, of the machine on which the built-in constants of an engine were fitted.

    Args:
        engine: its name.
        huge_pages: whether memory comes in pages of 2 MB.
    """
    costs = _REFERENCE[engine]
    return replace(costs, fresh_byte_s=_HUGE_PAGES_FRESH) if huge_pages else costs


def calibrated(built_in: CostConstants, reference: MachineCosts, found: MachineCosts) -> CostConstants:
    """The constants of a machine.

    Args:
        built_in: those of the engine.
        reference: what was measured where these were fitted.
        found: what was measured on the machine.

    Examples:
        >>> costs = MachineCosts(1e-11, 1e-11, 4e-11, 1e-11, 2e-11, 4e-11, 5e-10, 2e-5, 1e-4)
        >>> calibrated(CostConstants(), costs, replace(costs, byte_s=9e-11)).macs_per_byte
        8.0
    """
    values = {
        name: getattr(built_in, name) * _rounded(ratio, *_LIMITS[name]) for name, ratio in found.over(reference).items()
    }
    return replace(built_in, **values, measured=True)


def _rounded(ratio: float, least: float, most: float) -> float:
    """A ratio between two limits, as the nearest power of 2: measured again, it differs by less."""
    return min(max(2.0 ** round(math.log2(ratio)), least), most)


def constants_to_json(constants: CostConstants) -> dict[str, float] | None:
    """The measured constants as JSON-able values; ``None`` of built-in ones."""
    return {name: getattr(constants, name) for name in _LIMITS} if constants.measured else None


def constants_from_json(built_in: CostConstants, said: Any) -> CostConstants:
    """The constants that a record states: the built-in ones if it states none, or none that can be.

    Args:
        built_in: those of the engine.
        said: as ``constants_to_json`` returns it.
    """
    if not isinstance(said, Mapping) or set(said) != set(_LIMITS) or not all(map(_is_positive, said.values())):
        return built_in
    return replace(built_in, **said, measured=True)
