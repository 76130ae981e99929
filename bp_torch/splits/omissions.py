"""Mistakes in what is there: parts left out, samples repeated, gradients kept on their rank."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bp_torch.splits.cuts import Cut, listed
from bp_torch.splits.gradients import Gradients, combined, wide
from bp_torch.splits.split import Split


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A mistake, and what it would give on each rank."""

    mistake: str
    """In a word, for programs."""
    sentence: str
    gradients: Callable[[int], Gradients]
    hint: str = ""
    """What to look for where all parameters are wrong by it."""


def left_out(of: Split) -> Iterator[tuple[str, str, list[float]]]:
    """Parts that are not there, each as `weightings` has it."""
    shares, ones = list(of.shares), [1.0] * len(of.cut)
    k, unit = len(of.cut), of.unit.value
    if k < 2:
        return
    zero = "a zero_grad() inside the loop takes the others away"
    for place, which, why in ((k - 1, "last", zero), (0, "first", "the others are not added")):
        alone = [float(each == place) for each in range(k)]
        for factor in (1.0, 1 / k, shares[place]):
            sentence = f"only the gradient of the {which} of {k} {of.unit.several} is there: {why}"
            yield f"{which} only", sentence, [factor * each for each in alone]
    rest = 1 - shares[-1]
    missing = f"{of.cut.sizes[-1]} of {len(of.batch)} samples"
    for each in (shares, [c / rest for c in shares] if rest else shares, ones, [1 / k] * k):
        yield "last dropped", f"the last {unit} is left out ({missing})", [*each[:-1], 0.0]
    yield (
        "last dropped",
        f"the last {unit} is left out ({missing})",
        [*[1 / (k - 1)] * (k - 1), 0.0],
    )


def what_the_sampler_does(cut: Cut, n: int) -> str:
    """Which of n samples it repeats, and which it leaves out."""
    counts = cut.counts(n)
    twice = [place for place, count in enumerate(counts) if count > 1]
    never = [place for place, count in enumerate(counts) if count == 0]
    said = [f"repeats {_samples(twice)}"] if twice else []
    said += [f"leaves out {_samples(never)}"] if never else []
    effect = f", which count{'s' * (len(twice) == 1)} twice" if twice and not never else ""
    return (
        f"the sampler {' and '.join(said)}{effect}: its {len(cut)} ranks take {sum(cut.sizes)} of "
        f"{n} samples; give it a number that the ranks divide, or uneven parts"
    )


def _samples(places: Sequence[int]) -> str:
    return f"sample{'s' if len(places) > 1 else ''} {listed(places)}"


def not_reduced(of: Split) -> Iterator[Hypothesis]:
    """Each rank has its own."""
    k, n = len(of.cut), sum(of.cut.sizes)
    sentence = (
        "each rank keeps the gradient of its own samples: it is not reduced over the ranks; "
        "all_reduce it"
    )
    hint = (
        " (DistributedDataParallel does not where it waits for a parameter that gets no gradient, "
        "or is dropped before backward)"
    )
    scaled = [[factor * c for c in of.shares] for factor in (1, k, n, 1 / k)]
    for factors in ([1.0] * k, [1 / k] * k, of.cut.sizes, *scaled):

        def own(rank: int, factors: Sequence[float] = factors) -> Gradients:
            return combined([factors[rank]], [of.parts[rank]])

        yield Hypothesis("not reduced", sentence, own, hint)


def padded(of: Split) -> Hypothesis:
    """All parts as long as the longest."""
    longest = max(of.cut.sizes)
    sentence = (
        f"the {of.unit.several} are padded to {longest} samples each by repeating their first "
        f"ones, which count twice"
    )

    def made_longer(_: int) -> Gradients:
        k = len(of.cut)
        parts = [of.batch.part((part * longest)[:longest]) for part in of.cut.parts]
        return combined([1 / k] * k, [wide(of.subject.gradient(part)) for part in parts])

    return Hypothesis("padded", sentence, made_longer)
