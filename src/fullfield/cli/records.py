"""Several options of a command as one value: the records of the API, built and checked before torch is imported."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from fullfield.decisions.rule import DecisionRule
    from fullfield.image.open import ImageFile
    from fullfield.image.selection import Selection

PIXELS = {"mean": "mean", "std": "std", "pixel_scale": "scale", "order": "order", "trained_range": "value_range"}
"""Options for the fields of ``Preprocessing``."""

F = TypeVar("F", bound=Callable[..., Any])


def apply(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options at once, in the order of --help."""

    def decorate(function: F) -> F:
        for each in reversed(options):
            function = each(function)
        return function

    return decorate


def collected(
    name: str, make: Callable[..., Any], names: tuple[str, ...], *options: Callable[[F], F]
) -> Callable[[F], F]:
    """Options that the command gets as a single value.

    Args:
        name: of the command's parameter.
        make: called with the options' values by name.
        names: of the options that are collected.
        options: to add.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, **given: Any) -> Any:
            chosen = {each: given.pop(each) for each in names}
            return function(*args, **{name: make(**chosen)}, **given)

        return apply(*options)(command)  # type: ignore[arg-type]

    return decorate


def where(**fields: Any) -> Any:
    """The record ``Where``; its mask's file exists."""
    from fullfield.cli.files import check_file
    from fullfield.mask.where import Where

    if fields.get("mask") is not None:
        check_file(fields["mask"])
    return Where(**fields)


def compute(**fields: Any) -> Any:
    """The record ``Compute``."""
    from fullfield.planning.compute import Compute

    return Compute(**fields)


def encoding(**fields: Any) -> Any:
    """The record ``Encoding``, checked as far as that is possible without the model."""
    from fullfield.store.encoding import Encoding, score_encoder

    found = Encoding(**fields)
    score_encoder(replace(found, classes=found.classes and (0,)), classes=1)  # raises where fields exclude each other
    return found


def target(**fields: Any) -> Any:
    """The record ``Target``; ``None`` where neither option is given."""
    from fullfield.verification.target import Target

    return None if all(value is None for value in fields.values()) else Target(**fields)


def labels(**fields: Any) -> Any:
    """The record ``Labels``, whose file exists; ``None`` where none is given."""
    from fullfield.cli.files import check_file
    from fullfield.decisions.evaluation.labels import Labels

    source, coordinates = fields.pop("labels"), fields.pop("label_coordinates")
    if source is None:
        return None
    check_file(source)
    return Labels(source, coordinates=coordinates, **(fields | {"rename": dict(fields["rename"])}))


def rule(**fields: Any) -> DecisionRule | None:
    """The record ``DecisionRule``, whose regions are a file that exists; ``None`` without ``--decide``."""
    from fullfield.decisions.regions import parse_regions
    from fullfield.decisions.rule import DecisionRule

    how = fields.pop("decide")
    given = {name: value for name, value in fields.items() if value is not None}
    if how is None:
        if given:
            raise click.UsageError(f"--{next(iter(given))} needs --decide")
        return None
    if "regions" in given:
        given["regions"] = parse_regions(given["regions"])
    return DecisionRule(how, **given)


@dataclass(frozen=True)
class PickedPart:
    """Turns paths into an image: into an ``ImageFile`` where a part of the file is picked.

    Args:
        selection: the part.
        stacked: whether several files are one image.
    """

    selection: Selection
    stacked: bool = False

    def trusted(self, trust: bool) -> PickedPart:
        """The same, of files that may name others in any folder."""
        return replace(self, selection=replace(self.selection, trust=trust))

    def __call__(self, paths: str | tuple[str, ...]) -> str | ImageFile:
        """The image at a path, or at several; all of them exist.

        Raises:
            UsageError: several without ``--stack``, or one with it.
            ImageError: a file is missing.
        """
        from fullfield.cli.files import check_file
        from fullfield.image.open import ImageFile
        from fullfield.image.selection import Selection

        files = (paths,) if isinstance(paths, str) else paths
        if self.stacked:
            return self.stack(files)
        if len(files) > 1:
            raise click.UsageError(f"one image is taken, {len(files)} are given: --stack makes one of several files")
        check_file(files[0])
        return files[0] if self.selection == Selection() else ImageFile(files[0], self.selection)

    def stack(self, files: Sequence[str]) -> ImageFile:
        """The files as the bands of one image; all of them exist.

        Raises:
            UsageError: there is one.
            ImageError: a file is missing.
        """
        from fullfield.cli.files import check_file
        from fullfield.image.open import ImageFile

        if len(files) < 2:
            raise click.UsageError("--stack makes one image of several files, one is given")
        for each in files:
            check_file(each)
        return ImageFile(files[0], replace(self.selection, stack=tuple(files[1:])))


def image(**fields: Any) -> PickedPart:
    """The part of a file that is picked."""
    from fullfield.image.selection import Selection, parse_value_range

    stacked = fields.pop("stack", False)
    return PickedPart(Selection(**parse_value_range(fields.pop("value_range")), **fields), stacked)


def model(**fields: Any) -> Any:
    """The model's file and how it is loaded."""
    from fullfield.cli.files import ModelFile

    pixels = {field: fields.pop(option) for option, field in PIXELS.items()}
    return ModelFile(**fields, pixels=pixels)
