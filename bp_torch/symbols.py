"""Symbols of mathematics in ASCII, for terminals and files that have no others."""

import codecs
import re
import unicodedata

SYMBOLS = {
    "∂": "d",
    "Σ": "sum",
    "ŷ": "y_hat",
    "′": "'",
    "″": "''",
    "−": "-",
    "–": "-",
    "—": "-",
    "×": "x",
    "·": "*",
    "⊙": "*",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "≈": "~",
    "←": "<-",
    "→": "->",
    "↦": "->",
    "∞": "inf",
    "‖": "||",
    "√": "sqrt",
    "∈": "in",
    "½": "1/2",
    "¼": "1/4",
    "“": '"',
    "”": '"',
    "’": "'",
    "…": "...",
    "⁄": "/",
    "µ": "u",
}
"""What stands for a symbol of ours in ASCII. Greek letters, powers and indices follow by rule."""

ERRORS = "bp_torch.in_ascii"


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What an encoding lacks, in ASCII: a handler for the errors of `str.encode`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = "".join(map(_character_in_ascii, lacking))
    return re.sub(r"(?<=\^[\w-])\^|(?<=_\w)_", "", plain), error.end  # x^12 and not x^1^2


def _character_in_ascii(character: str) -> str:
    """ "sigma" for "σ", "^2" for "²", "_i" for "ᵢ", "u" for "ü", "?" for what has no such form."""
    if character in SYMBOLS:
        return SYMBOLS[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK SMALL LETTER "):
        return name.split()[-1].lower()
    if name.startswith("GREEK CAPITAL LETTER "):
        return name.split()[-1].capitalize()
    place = {"<super>": "^", "<sub>": "_"}.get(unicodedata.decomposition(character).split(" ")[0])
    plain = "".join(SYMBOLS.get(c, c) for c in unicodedata.normalize("NFKD", character))
    return (place or "") + plain.encode("ascii", "ignore").decode() or "?"


codecs.register_error(ERRORS, in_ascii)


def written_in(encoding: str, text: str) -> str:
    """The text as it comes out where only that encoding's characters are to be had."""
    return text.encode(encoding, ERRORS).decode(encoding)
