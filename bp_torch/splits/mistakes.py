"""Mistakes that give another gradient than the whole batch's, each as the gradient that it gives.

    Σₖ cₖ gₖ ,   gₖ the gradient of the mean over part k: cₖ = nₖ/N is right

Nearly every mistake is another cₖ. Sources: Goyal et al. (2017), "Accurate, Large Minibatch SGD:
Training ImageNet in 1 Hour", §3 (a rank's cost is divided by the size of the whole batch, not of
its own); "Fixing Gradient Accumulation", Hugging Face blog (October 2024), for tokens instead of
samples; the notes on DistributedDataParallel and DistributedSampler in PyTorch's documentation.
"""

from collections.abc import Iterator

from bp_torch.splits.gradients import combined
from bp_torch.splits.omissions import (
    Hypothesis,
    left_out,
    not_reduced,
    padded,
    what_the_sampler_does,
)
from bp_torch.splits.split import Split, Unit


def hypotheses(split: Split) -> Iterator[Hypothesis]:
    """From the most common to the rarest."""
    for mistake, sentence, weights in weightings(split):
        yield Hypothesis(mistake, sentence, lambda _, w=weights: combined(w, split.parts))  # type: ignore[misc]
    if split.unit is Unit.RANK:
        yield from not_reduced(split)
    if not split.cut.is_even and all(split.cut.sizes):
        yield padded(split)


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
    yield from left_out(of)
    yield (
        "doubled",
        "the gradient is 2 times too large: what was there before has not been zeroed, or backward "
        "runs twice",
        [2 * c for c in shares],
    )
