"""A sweep: one run for every combination of some options' values."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from bp_torch.training.config import Config

MOST_RUNS = 1000

OPTIONS: dict[str, Callable[[str], Any]] = {
    "learning-rate": float,
    "seed": int,
    "epochs": int,
    "batch-size": int,
    "momentum": float,
    "l2": float,
    "l1": float,
    "init-weight": float,
    "init-bias": float,
    "layers": lambda text: (int(text),) if text else (),
    "cost": str,
    "schedule": str,
    "gradient": str,
    "derivative": str,
    "dtype": str,
    "mistake": str,
}
"""What can be swept over, and how a value's text becomes one."""


def points(config: Config, sweeps: Sequence[str]) -> list[Config]:
    """The configurations of all runs; the one given where nothing is swept over.

    Raises ValueError, in one line, for an option that cannot be swept over or a value that is none.
    """
    values = dict(map(_values, sweeps))
    if len(values) < len(sweeps):
        raise ValueError("--sweep names an option twice; put all its values into one")
    combinations = list(product(*values.values()))
    if len(combinations) > MOST_RUNS:
        raise ValueError(f"--sweep asks for {len(combinations):,} runs, more than {MOST_RUNS:,}")
    found = []
    for combination in combinations:
        chosen = dict(zip(values, combination, strict=True))
        label = ",".join(f"{key}={_plain(value)}" for key, value in chosen.items())
        name = f"{config.name}-{label}" if config.name and label else config.name
        fields = {key.replace("-", "_"): value for key, value in chosen.items()}
        found.append(replace(config, name=name, **fields))
    return found


def swept(configs: Sequence[Config]) -> list[str]:
    """The options in which the runs differ."""
    fields = [option.replace("-", "_") for option in OPTIONS]
    return [name for name in fields if len({getattr(config, name) for config in configs}) > 1]


def _values(sweep: str) -> tuple[str, list[Any]]:
    """ "seed=0:3" as ("seed", [0, 1, 2])."""
    option, _, text = sweep.partition("=")
    option = option.strip().lstrip("-").replace("_", "-")
    if option not in OPTIONS or not text:
        raise ValueError(
            f"--sweep must be an option and its values, as learning-rate=0.1,1 or seed=0:5, with "
            f"one of {', '.join(OPTIONS)}; got {sweep!r}"
        )
    convert = OPTIONS[option]
    try:
        first, colon, last = text.partition(":")
        if colon and convert is int:
            values = list(map(convert, map(str, range(int(first), int(last)))))
        else:
            values = [convert(each) for each in text.split(",")]
    except ValueError:
        raise ValueError(f"--sweep {option} must have numbers, got {text!r}") from None
    if not values or len(set(values)) < len(values):
        raise ValueError(f"--sweep {option} must have values, each once, got {text!r}")
    return option, values


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
