"""Numbers and names as an explanation writes them."""

from collections.abc import Sequence
from dataclasses import dataclass

from bp_torch.neuron import Layer

SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

LEAST_DIGITS = 4
"""Significant digits that a number keeps at least: with fewer it is written with a power of ten."""

LARGEST = 1e6


def number(value: float, decimals: int = 6) -> str:
    """ "0.731059", "−3", "4.14·10⁻⁸": at most so many decimals, and no zeros that say nothing."""
    if value != value or value in (float("inf"), float("-inf")):
        return {"inf": "∞", "-inf": "−∞"}.get(str(value), "NaN")
    size = abs(value)
    if size and not 10.0 ** (LEAST_DIGITS - 1 - decimals) <= size < LARGEST:
        if size < LARGEST and float(f"{size:.{decimals}f}") == size:  # 0.0005, as it was typed
            text = f"{size:.{decimals}f}".rstrip("0")
        else:
            mantissa, exponent = f"{size:.{LEAST_DIGITS - 1}e}".split("e")
            power = f"10{exponent_of(exponent)}"
            mantissa = mantissa.rstrip("0").rstrip(".")
            text = power if mantissa == "1" else f"{mantissa}·{power}"
    else:
        text = f"{size:.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"−{text}" if value < 0 else text


def exponent_of(text: str) -> str:
    """ "⁻⁸" of "-08"."""
    return str(int(text)).translate(SUPERSCRIPTS)


def factor(value: float, decimals: int = 6) -> str:
    """A number that stands behind a sign: in brackets where it is negative."""
    text = number(value, decimals)
    return f"({text})" if value < 0 else text


def subscript(name: str, index: int) -> str:
    """ "w₁₂"."""
    return name + str(index).translate(SUBSCRIPTS)


def superscript(name: str, index: int) -> str:
    """ "h²"."""
    return name + str(index).translate(SUPERSCRIPTS)


@dataclass(frozen=True)
class LayerNames:
    """What the numbers of a layer are called. Weights are counted through the whole network, row by
    row, as in Mazur's article: w₁ leads from the first input to the first neuron."""

    inputs: tuple[str, ...]
    units: tuple[str, ...]
    """Of the outputs: "ŷ" for a single neuron, else h₁, h₂ … and o₁, o₂ …"""
    first_weight: int
    first_bias: int
    alone: bool
    """One neuron: its bias is b, not b₁."""

    def weight(self, unit: int, place: int) -> str:
        """The weight from that input to that unit."""
        return subscript("w", self.first_weight + unit * len(self.inputs) + place)

    def bias(self, unit: int) -> str:
        """The bias of that unit."""
        return "b" if self.alone else subscript("b", self.first_bias + unit)

    def pre_activation(self, unit: int) -> str:
        """ "z", or "z(h₁)" where there are several units."""
        return "z" if self.alone else f"z({self.units[unit]})"

    def delta(self, unit: int) -> str:
        """ "δ", or "δ(h₁)"."""
        return "δ" if self.alone else f"δ({self.units[unit]})"


def names_of(layers: Sequence[Layer]) -> list[LayerNames]:
    """The names of every layer's numbers."""
    alone = len(layers) == 1 and not layers[0].bias.ndim
    inputs = tuple(subscript("x", j + 1) for j in range(layers[0].weight.shape[-1]))
    names, weights, biases = [], 1, 1
    for place, layer in enumerate(layers, 1):
        count = layer.bias.numel()
        units = ("ŷ",) if alone else _units(place, len(layers), count)
        names.append(LayerNames(inputs, units, weights, biases, alone))
        weights += layer.weight.numel()
        biases += count
        inputs = units
    return names


def _units(place: int, layers: int, count: int) -> tuple[str, ...]:
    if place == layers:
        letter = "o"
    elif layers == 2:
        letter = "h"
    else:
        letter = superscript("h", place)  # several hidden layers: h¹₁, h²₁
    return tuple(subscript(letter, unit + 1) for unit in range(count))
