"""Mistakes that give another gradient than the whole batch's, each as the gradient that it gives.

    Σₖ cₖ gₖ ,   gₖ the gradient of the mean over part k: cₖ = nₖ/N is right

Nearly every mistake is another cₖ. Sources: Goyal et al. (2017), "Accurate, Large Minibatch SGD:
Training ImageNet in 1 Hour", §3 (a rank's cost is divided by the size of the whole batch, not of
its own); "Fixing Gradient Accumulation", Hugging Face blog (October 2024), for tokens instead of
samples; the notes on DistributedDataParallel and DistributedSampler in PyTorch's documentation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from bp_torch.splits.batch import Batch
from bp_torch.splits.cuts import Cut, listed
from bp_torch.splits.gradients import Gradients, Subject, combined, wide


class Unit(Enum):
    """What the parts are."""

    MICRO_BATCH = "micro-batch"
    RANK = "rank"

    @property
    def several(self) -> str:
        """The plural."""
        return "ranks" if self is Unit.RANK else "micro-batches"


@dataclass(frozen=True, eq=False)
class Split:
    """A batch in parts, with the gradient of each."""

    unit: Unit
    cut: Cut
    subject: Subject
    batch: Batch
    parts: Sequence[Gradients]
    """gₖ, of the mean over part k alone; of an empty part nothing."""
    shares: Sequence[float]
    """The right cₖ; they add up to 1, where the cost is a mean."""
    by_samples: bool
    """Whether these are nₖ/N, and no other weights."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A mistake, and what it would give on each rank."""

    mistake: str
    """In a word, for programs."""
    sentence: str
    gradients: Callable[[int], Gradients]
    hint: str = ""
    """What to look for where all parameters are wrong by it."""


def hypotheses(split: Split) -> Iterator[Hypothesis]:
    """From the most common to the rarest."""
    for mistake, sentence, weights in weightings(split):
        yield Hypothesis(mistake, sentence, lambda _, w=weights: combined(w, split.parts))  # type: ignore[misc]
    if split.unit is Unit.RANK:
        yield from _not_reduced(split)
    if not split.cut.is_even and all(split.cut.sizes):
        yield _padded(split)


def weightings(of: Split) -> Iterator[tuple[str, str, list[float]]]:
    """Each mistake in a word and in a sentence, with its cₖ."""
    k, n, units = len(of.cut), sum(of.cut.sizes), of.unit.several
    shares, ones = list(of.shares), [1.0] * k
    some = "" if of.cut.is_even and of.by_samples else "some "
    share = "its share of the samples, n_k / N" if of.by_samples else "its share of the weights"
    is_mean = abs(sum(shares) - 1) < 1e-6
    counts = of.cut.counts(len(of.batch))
    if any(count != 1 for count in counts):
        word = "padded sampler" if max(counts) > 1 else "samples dropped"
        yield word, what_the_sampler_does(of.cut, len(of.batch)), shares
    if not is_mean:
        sentence = f"the cost is a sum over the samples and no mean, and is divided by {k}"
        yield "divided twice", f"the gradient is {k} times too small: {sentence}", [1 / k] * k
        yield "mean for sum", f"{sentence.split(', and')[0]}, and is divided by {n}", [1 / n] * k
        return
    remedy = {
        (Unit.MICRO_BATCH, True): f"write (cost / {k}).backward()",
        (Unit.RANK, True): f"divide by {k}",
    }.get((of.unit, not some), f"weigh each by {share}")
    how = (
        f"the gradients of {k} ranks are added, each of the mean over its own samples, and nothing "
        f"divides by {k}"
        if of.unit is Unit.RANK
        else f"the cost of each of {k} micro-batches is the mean over its own samples, and nothing "
        f"divides by {k}"
    )
    yield (
        "not divided",
        f"the gradient is {some}{k} times too large: {how}; {remedy}",
        ones,
    )
    as_ddp = (
        f"; DistributedDataParallel averages over the ranks, so multiply by {k} as well"
        if of.unit is Unit.RANK
        else ""
    )
    size = f"whatever its size ({of.cut})" if of.by_samples else "whatever the weights in it"
    yield (
        "mean of means",
        f"a mean of means: each of {k} {units} counts alike, {size}; weigh each by {share}{as_ddp}",
        [1 / k] * k,
    )
    if not of.by_samples:
        yield (
            "samples for weights",
            f"each of {k} {units} is weighed by its number of samples, and the cost's mean is a "
            f"weighted one; weigh each by {share}",
            [size / n for size in of.cut.sizes],
        )
    yield (
        "sum for mean",
        f"the gradient is {n} times too large: the costs of {n} samples are added up, and the "
        f"whole batch's cost is their mean; divide by {n}",
        [n * c for c in shares],
    )
    yield (
        "sum for mean",
        f"the gradient is {n / k:g} times too large: the costs of {n} samples are added up and "
        f"divided by the number of {units}, {k}; divide by {n}",
        [n / k * c for c in shares],
    )
    twice = f"the gradient is {k} times too small: it is divided by {k} twice"
    yield "divided twice", twice, [c / k for c in shares]
    yield "divided twice", f"{twice}, and uneven {units} count alike", [1 / k**2] * k
    yield (
        "divided twice",
        f"the gradient is {n} times too small: the cost is a mean, and is divided by {n} again",
        [c / n for c in shares],
    )
    yield (
        "divided twice",
        f"the gradient is some {n / k:g} times too small: the cost of each of {k} {units} is a "
        f"mean already, and is divided by {n}; weigh each by {share}",
        [1 / n] * k,
    )
    yield from _left_out(of, shares, ones)
    yield (
        "doubled",
        "the gradient is 2 times too large: what was there before has not been zeroed, or backward "
        "runs twice",
        [2 * c for c in shares],
    )


def _left_out(
    of: Split, shares: list[float], ones: list[float]
) -> Iterator[tuple[str, str, list[float]]]:
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


def _not_reduced(of: Split) -> Iterator[Hypothesis]:
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


def _padded(of: Split) -> Hypothesis:
    longest = max(of.cut.sizes)
    sentence = (
        f"the {of.unit.several} are padded to {longest} samples each by repeating their first "
        f"ones, which count twice"
    )

    def padded(_: int) -> Gradients:
        k = len(of.cut)
        parts = [of.batch.part((part * longest)[:longest]) for part in of.cut.parts]
        return combined([1 / k] * k, [wide(of.subject.gradient(part)) for part in parts])

    return Hypothesis("padded", sentence, padded)
