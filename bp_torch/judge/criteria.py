"""When is a gradient right? The rule, and its constants in one table.

An element is right when its distance from the truth T is at most

    (FLOOR + PEER · R) · (ulp(T) + spread)   or   PEER · |autograd − T|

`ulp(T)` is the last place of the truth in the dtype that is judged. `spread` is the conditioning,
measured and not assumed: how far the truth moves when every tensor that the reference saves for its
backward, and the upstream gradient, is off by half a last place of that dtype; and before anything
is called wrong, how far your own gradient and the reference's move when every single operation is
(`rounding`). The sum of the absolute terms of a reduction is part of it. R is autograd's own worst
error in units of ulp + spread, in the same dtype on the same inputs, and at most PEER_LIMIT.

A systematic factor is found below what single elements show: over the whole tensor, for the inputs
as given, yours may deviate from the truth by a factor of at most 1 ± (FACTOR · eps + its own
uncertainty), or PEER times autograd's deviation.

Besides, and never averaged away: a NaN, an infinity, a zero or a wrong sign where the truth is a
normal number beyond its spread, and where autograd, in the same dtype, is right.
"""

import torch

# The rule.

FLOOR = 6.0
"""Units of ulp + spread that any right implementation may be off: half a unit for each of some ten
operations, and the spread is a maximum over few random draws, not a bound."""

FACTOR = 2.0
"""Units of eps that a right implementation may be off as a whole: single roundings mostly cancel
in the mean, those of a factor common to all elements do not."""

PEER = 4.0
"""How many times autograd's own error is acceptable: the same mathematics in another order."""

PEER_IN_FLOAT64 = 4.0
"""R in float64, where autograd is the truth itself and its own error is not seen: what formulas
with some cancellation in them, such as mish's, show in float32."""

PEER_LIMIT = 64.0
"""Beyond it autograd itself has gone wrong somewhere, and is no measure for the other elements."""

DRAWS = 3
"""Random draws for the spread; each costs one backward pass of the reference."""

ROUNDED_DRAWS = 10
"""Runs with every operation rounded, of each side, before a conviction."""

DRAWS_BEFORE_CONVICTION = 16
"""Draws added where an element seems wrong: several saved tensors move at random, and in a few
draws their effects on one element in a million cancel."""

FLUSHED = 128
"""Smallest normal numbers that an error must exceed: the largest x of a tail is about 100."""

PEER_RIGHT = 0.5
"""A zero or a wrong sign is judged where autograd is off by less than this share of the truth."""

OVERFLOW_ALONE = 64
"""Without a reference an infinity is excused where the truth is within this factor of the largest
number."""

SECOND_ROUNDINGS = 4
"""Half places of the largest entry that a second derivative is unsure of besides: what it is made
of, the first one and its factors, has been rounded to the dtype some four times."""

TELLING = 0.01
"""Where the truth is 0 everywhere it tells something if a gradient of this size would be seen."""

LOST = 0.01
"""A derivative that is off by more than 1% of itself is called lost."""


# What is tried.

DRAWN_INPUTS = 3
"""How often inputs are drawn, where a function makes them."""

SIZES = (33, 1, 2, 3, 31, 32, 127, 128, 129, 1000, 0)
"""Where a function of a generator and a size makes the inputs: kernels fail at the edges of their
tiles. At the first everything is tried, at the others the inputs as they are."""

MAGNITUDES = (1e-3, 1e-1, 10.0, 1e3)
"""Factors of the given inputs: towards 0, where functions are linear, and towards where they
saturate or overflow."""

LADDER_END, LADDER_STEPS = 110.0, 2201
"""Steps of a tenth from −110 to 110, past every saturation of float32: e⁻¹⁰⁴ underflows to 0."""

SAMPLE = 1 << 16
"""A pointwise function's further trials look at this many elements; the given inputs at all."""

MOST_INPUTS_FOR_SUBSETS = 4
"""Of so many inputs every subset is tried with gradients, 14 of them; of more each alone and all
but each."""

HALVES = 2
"""So often half of the elements is moved, up and down, near and far, to see whether the others'
outputs move."""

RUNS, MEAN_RUNS = 3, 256
"""How often a run is repeated, to see whether it varies; and how often one that does, to see
whether its mean is right."""

# The truth by differences of values.

REFERENCE_DISAGREES = 1e-6
"""Beyond this, relative to the sum of absolute terms, autograd's derivative of the reference is not
the derivative of its value; differences in float64 are good to about 1e-10."""

STEPS_FROM, LEAST_STEP = 7.6, 1 << 20
"""The largest step is so small a part of the input's own size, or of 1, and no round one, which
could keep pace with a function's jumps or periods; the smallest has so many rounding units: with it
R is still good to about 1e-9."""

STAIRS = 1e-5
"""A function that is flat over smaller steps and moves over this one is a staircase, such as one
that computes in float32 on its way: nothing is known of its slope."""

NOISE_STEPS, NOISE_VALUES = (77, 13_331, 4_711_777), 7
"""The values' own rounding is measured over so many steps of so many rounding units; odd numbers,
which the steps of a coarser dtype do not divide."""

NOISE_IS_NONE = 1e-5
"""Values that vary by a larger share of themselves over such steps are not rounded: they jump."""

CONVERGENCE = 64
"""By how much less than the one before a step changes the slope of a smooth function: the error
goes with h⁴, by 256, and room is left for what is not yet small."""

CERTAIN, SURE, SURE_OF_TWO = 1e-3, 10, 2
"""A difference whose error is below this share of it decides against autograd in float64, where
they are apart by more than so many times that error; twice it where the gradient that is judged
lies within it. Where the second derivative jumps, as elu's
does at 0, the error is as large as the step: about 1e-4."""

KINK = 0.05
"""Slopes to both sides that stay apart by more than this share of the larger are a kink."""

NUDGE, NUDGES = 1e-8, 12
"""A gradient that changes by more than such a share when its inputs move by so little, in so many
draws, jumps there; a smooth one changes by about as little."""

SAMPLED_ELEMENTS, SAMPLED_LATER = 16, 4
"""Elements of each input whose derivative is taken, where the function is not pointwise: at the
inputs as given, and in every further trial."""

CONFIRMED, ELSEWHERE = 3, 4
"""Elements of each input, the worst ones, that are looked at before a conviction, where autograd's
gradient in float64 is the truth; where one of them shows it to be off, it may be off by so many
times that share of itself in other places."""

# What is said of autograd.

FEWEST_LOST = 3
"""Lost elements on one side that make a region; one or two are a kink of the function."""

WORSE = 100.0
"""Autograd is called wrong where it is this many times further from the truth than you."""

# The mistake's name.

EXPLAINED = 0.05
"""A hypothesis must account for all but this share of the error, besides fitting to rounding."""

CLOSE, TINY = 3.0, 1e-12
"""Residuals within this factor, or this share of the error, fit equally well."""

EXACTLY = 1e-7
"""A hypothesis that leaves less than this share of the error is not compared with further ones."""

STANDS_OUT = 4
"""A region's smallest error, in units of the limit, is so many times the largest outside of it."""

MOST_EVIDENCE = 3
"""The first trials that failed are looked at; the others failed for the same reason."""

COARSER = (torch.bfloat16, torch.float16, torch.float32)
"""Dtypes whose digits a gradient may have lost its own for, the coarsest first."""

DIGITS_NEAR, DIGITS_LAST, DIGITS_SHARE = 8, 4, 0.95
"""A gradient has only a coarse dtype's digits where it is within so many of that dtype's rounding
units of the truth, and within so many of its own of a number of that dtype in so many elements."""

ALIKE = 0.01
"""Ratios to the truth that differ by less than 1% are one factor."""

MOST_WORK = 5e7
"""Numbers that go through all the passes that hypotheses cost: some seconds."""

FEWEST_TRIED = 1000
"""Where fewer hypotheses than these can be tried, the report says so."""

MOST_EXPLAINED = 4096
"""Elements of a pointwise function whose gradient is explained; the others go the same way."""

MOST_CONSTANTS, MOST_TOGETHER, NEARBY = 12, 6, 0.25
"""So many constants of the code are tried, and so many at once; one that is off by more than a
quarter is no rounded or mistyped constant but another number."""

FEWEST_FITTED = 4
"""Numbers that a hypothesis with a fitted factor needs: fewer fit by accident."""

MOST_SAMPLES = 256
"""Per-sample gradients cost a backward pass each; beyond this many they are not tried."""

MOST_NODES = 100
"""Of a larger graph only the nodes nearest the outputs are mutated, at a backward pass each."""

MOST_NODES_WITH_FACTORS = 40
"""With each input in turn as a factor too many."""

FEWEST_AROUND = 2
"""Right elements that a threshold needs to be one."""

MOST_PLACES = 6
"""Places where a factor may be missing are tried one by one, up to so many."""

# The transforms.

FEW = 12
"""Elements of a pointwise function that are enough: the table speaks of rules, not of numbers."""

MOST_FOR_TRANSFORMS = 2048
"""Elements of another function: whole Jacobians and Hessians are built."""

TRANSFORM_EPS = 64
"""Rounding units of the inputs' dtype, relative to the largest entry of the expected result: the
transforms reorder some ten operations and sums over a few dozen entries. Mistakes in a derivative
are larger by orders of magnitude."""

AUTOCAST_DTYPE = torch.bfloat16
AUTOCAST_EPS = 8
"""Rounding units of that dtype: autocast works in fewer digits, but for few operations; over random
neurons 1.5 of them were seen."""

COPIES = (1.0, 0.5, 0.25)
"""vmap gets the inputs as they are and scaled by these: exact in every dtype, and towards zero,
where a function that is defined at the inputs most likely is defined as well."""
