"""What ``fullfield scan --decide`` says of each image: its decision, or those of its regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fullfield.decisions.decision import Decision

_SHOWN = 5  # classes named


def decided(decision: Decision | tuple[Decision, ...]) -> dict[str, Any] | list[dict[str, Any]]:
    """The decision of an image as plain JSON; with regions one for each."""
    return [each.to_dict() for each in decision] if isinstance(decision, tuple) else decision.to_dict()


def decision_lines(decision: dict[str, Any] | list[dict[str, Any]] | None) -> list[str]:
    """The decision for people: a line with its greatest scores, and one with a warning; so of each region."""
    if decision is None:
        return []
    every = decision if isinstance(decision, list) else [decision]
    first = every[0]
    divided = "" if first["temperature"] == 1 else f" at temperature {first['temperature']:.4g}"
    lines = [f"decided  {first['how']} of {first['on']}{divided}{_combined(first)}"]
    lines += [f"         {_scores(each)}" for each in every]
    return [*lines, *(f"remark   {remark}" for remark in dict.fromkeys(each["remark"] for each in every) if remark)]


def _combined(decision: dict[str, Any]) -> str:
    """What several scans were combined over."""
    return "".join(f"; {name} {', '.join(texts)}" for name, texts in decision.get("combined", {}).items())


def _scores(decision: dict[str, Any]) -> str:
    """The greatest scores of a decision, and the windows that they are from."""
    names = decision["class_names"] or [f"class {k}" for k in decision["classes"]]
    pairs = [(score, name) for score, name in zip(decision["scores"], names, strict=True) if score is not None]
    shown = ", ".join(f"{name} {score:.4g}" for score, name in sorted(pairs, key=lambda pair: -pair[0])[:_SHOWN])
    region = f"{decision['region']['name']}: " if "region" in decision else ""
    windows = f"{decision['windows']} windows, {decision['effective']:.4g} independent"
    return f"{region}{shown}{', …' if len(pairs) > _SHOWN else ''} ({windows})"
