"""What was found, piece by piece: what each tensor, property and transform came to.

Everything else in the judge knows trials, quantities and properties as members of an enum; what
they are called stands here.
"""

from dataclasses import dataclass
from enum import Enum, auto

from bp_torch.judge.evidence import Quantity
from bp_torch.judge.trials import Role


class Property(Enum):
    """What must hold besides the numbers."""

    INPUTS_UNCHANGED = auto()
    OUTPUTS_UNCHANGED = auto()
    UPSTREAM_UNCHANGED = auto()
    SAME_BACKWARD_TWICE = auto()
    INTERLEAVED = auto()
    EACH_RUN_ANEW = auto()
    DETERMINISTIC = auto()


class Outcome(Enum):
    """What became of a function under a transform; what is amiss comes first."""

    WRONG = auto()
    TORCH = auto()
    """Wrong, and no hand-written rule is to blame: there is none in it, or the reference fares no
    better, or what is right in eager mode has been compiled."""
    BYPASSED = auto()
    """The rule by hand did not run: torch differentiated its forward, rightly or not."""
    REFUSED = auto()
    RIGHT = auto()


WORDS: dict[Enum, str] = {
    Role.THOUSANDTH: "inputs × 0.001",
    Role.TENTH: "inputs × 0.1",
    Role.TENFOLD: "inputs × 10",
    Role.THOUSANDFOLD: "inputs × 1000",
    Role.UPSTREAM_NON_CONTIGUOUS: "upstream non-contiguous",
    Role.INPUTS_NON_CONTIGUOUS: "inputs non-contiguous",
    Role.ZERO_DIMENSIONAL: "0-d",
    Quantity.GRADIENT: "gradient of",
    Quantity.SECOND_DERIVATIVE: "second derivative by",
    Property.SAME_BACKWARD_TWICE: "backward twice",
    Property.INTERLEAVED: "two calls, then backward of the first",
}


def words(member: Enum) -> str:
    """What a trial, a quantity or a property is called: as in the code, unless `WORDS` knows
    better."""
    return WORDS.get(member, member.name.lower().replace("_", " "))


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong, in a word for programs and in a sentence for people."""

    mistake: str
    """One of `mistakes.hypothesis.Mistake`."""
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Row:
    """One tensor of one trial, at its worst element."""

    role: Role
    quantity: Quantity
    name: str
    """Of the input that the gradient is by; of a value its number, where there are several."""
    dtype: str
    device: str
    ok: bool
    yours_ulp: float
    yours_abs: float
    yours_rel: float
    autograd_ulp: float | None
    autograd_abs: float | None
    autograd_rel: float | None
    index: tuple[int, ...] | None
    yours: float | None
    """The three values at that index."""
    autograd: float | None
    truth: float | None
    at: float | None
    """The input's value there, for a pointwise function."""
    nans: int
    zeros: int
    signs: int
    """NaN or infinities, and zeros and wrong signs where the truth is a normal number."""
    told: int
    """In how many elements the truth is known well enough to tell a gradient from none."""
    draw: str = ""
    """Which draw of the inputs, as "n = 33, sorted"; "" where there is one."""

    @property
    def trial(self) -> str:
        """ "as given", "inputs × 10", "second derivative"."""
        second = self.quantity is Quantity.SECOND_DERIVATIVE
        return "second derivative" if second else words(self.role)

    @property
    def what(self) -> str:
        """ "gradient of weight", "second derivative by input" or "value"."""
        return f"{words(self.quantity)} {self.name}".rstrip()


@dataclass(frozen=True)
class Check:
    """A property that is not a number: side effects, determinism, the same backward twice."""

    property: Property
    ok: bool
    detail: str


@dataclass(frozen=True)
class Refusal:
    """A trial that the function refused, with its reason; a refusal is no mistake."""

    role: Role
    quantity: Quantity
    reason: str
    draw: str = ""

    def __str__(self) -> str:
        second = self.quantity is Quantity.SECOND_DERIVATIVE
        trial = "second derivative" if second else words(self.role)
        if self.draw and not self.role.optional:
            trial = self.draw
        return f"{trial} ({self.reason})"


@dataclass(frozen=True)
class TransformRow:
    """One of torch's transforms and what became of the function under it."""

    name: str
    """Such as "func.grad" or "compile(vmap(grad))"."""
    dtype: str
    outcome: Outcome
    order: int
    """Of the derivative that it takes."""
    detail: str
    """One short line: how wrong and where, why refused, what was bypassed; "" where right."""
    error: float = 0.0
    """The relative error, where the numbers are wrong."""
