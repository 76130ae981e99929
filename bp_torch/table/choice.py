"""Which columns of a table are learnt from, and which is learnt."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bp_torch.table.columns import kind_of
from bp_torch.table.source import Source

Missing = Literal["drop", "mean"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is asked of a table."""

    target: str | None = None
    """The column that is learnt."""
    features: tuple[str, ...] = ()
    """The columns to learn from; none named: all but the others named here."""
    drop: tuple[str, ...] = ()
    """Columns that are left out."""
    one_hot: tuple[str, ...] = ()
    """Columns of numbers that name categories; columns of texts do anyway."""
    missing: Missing | None = None
    """What becomes of rows with missing values: "drop" leaves them out, "mean" fills in the mean of
    the training part (of categories their shares); None: there must be none."""
    sample_weight: str | None = None
    """The column that says how much each row counts."""
    positive: str | None = None
    """Which of a target's two values is 1; None: the later one, by size or by letters."""
    above: float | None = None
    """Of a target of numbers: 1 where it is larger than this, 0 elsewhere; None: as it is."""
    test_size: float = 0.2
    """The share of rows that is held out, of every class."""


@dataclass(frozen=True)
class Roles:
    """The columns' names by what they are for."""

    features: tuple[str, ...]
    target: str
    weight: str | None


def choose_columns(source: Source, choice: Choice) -> Roles:
    """Who plays which part; raises ValueError, in one line, where that cannot be."""
    names, where = source.types, source.where
    if choice.target is None:
        raise ValueError(
            f"which column of {where} is to be learnt? name it with target (--target): "
            f"{_some(names)}"
        )
    weight = [choice.sample_weight] if choice.sample_weight else []
    _require_there(source, [choice.target], "the target")
    _require_there(source, weight, "the sample weight")
    for asked, what in (
        (choice.features, "a feature"),
        (choice.drop, "a column to drop"),
        (choice.one_hot, "a one-hot column"),
    ):
        _require_there(source, asked, what)
    for name in (choice.target, *weight):
        what = "target" if name == choice.target else "sample weight"
        if name in choice.features:
            raise ValueError(f"{name!r} is the {what}, and cannot be a feature as well")
        if name in choice.drop:
            raise ValueError(f"{name!r} is the {what}, and cannot be dropped as well")
    if choice.target in weight:
        raise ValueError(f"{choice.target!r} is the target, and cannot be the weight as well")
    out = {choice.target, *weight, *choice.drop, *(() if choice.features else source.unnamed)}
    features = tuple(name for name in choice.features or names if name not in out)
    if not features:
        raise ValueError(f"{where} has no column left to learn from besides {choice.target!r}")
    for name in (*features, choice.target, *weight):
        kind = kind_of(names[name])
        if kind is None:
            raise ValueError(
                f"the column {name!r} of {where} is {names[name]}; expected numbers or texts, so "
                f"bring it into that form, or leave it out with drop (--drop)"
            )
        if kind == "text" and name == choice.target and choice.above is not None:
            raise ValueError(
                f"the target {name!r} of {where} holds texts, and above (--above) is for numbers; "
                f"leave it out"
            )
        if kind == "text" and name in weight:
            raise ValueError(f"the sample weight {name!r} of {where} holds texts; expected numbers")
    return Roles(features, choice.target, choice.sample_weight)


def _require_there(source: Source, asked: Iterable[str], what: str) -> None:
    for name in asked:
        if name not in source.types:
            near = difflib.get_close_matches(name, source.types, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {_some(source.types)}"
            raise ValueError(f"{source.where} has no column {name!r} for {what}; {hint}")


def _some(names: Iterable[str]) -> str:
    shown: Sequence[str] = list(names)
    return ", ".join(shown) if len(shown) <= 12 else f"{', '.join(shown[:12])} …"
