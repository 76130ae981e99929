"""Every tolerance of the tests, each with its reason."""

import torch

# Gradients by hand against autograd's, in ULP of autograd's. With the custom Function both walk
# the same graph and multiply in the same order: not one bit may differ in float32 and float64. In
# 16 bits torch's own kernels keep float32 between two factors on one path and not on another.
FUNCTION_ULP = {torch.float64: 0, torch.float32: 0, torch.bfloat16: 2, torch.float16: 2}

# The chain rule by hand against autograd's, in rounding units of each gradient's largest entry: it
# groups the factors differently, so each of some ten products and sums of N = 8 rounds by half a
# unit; a smaller entry has lost what cancels in its sum.
CHAIN_EPS = 16

# Formulas against 50 digits, in ULP of the truth: one ULP for the exponential or logarithm of the
# C library, half for each of at most four further operations.
FORMULA_ULP = 4

# Figures as published, to the last digit printed.
PUBLISHED = {digits: 0.5 * 10.0**-digits for digits in (2, 3, 7, 9, 10)}

# A figure recomputed in float64 after 10,000 steps, given to 10 significant digits.
LONG_RUN_RELATIVE = 5e-10

# Folding the standardisation into the weights changes the order of float32 sums over 64 features
# whose raw values reach 4,000; what is left after the cancellation is good to about 1e-4.
FOLDED_ABSOLUTE = 2e-4

# Costs and accuracies in the README against another machine's: sums in another order, amplified
# by thousands of steps. A sample more or less is 1% of accuracy.
README_RELATIVE = 0.02

# A derivative under a transform against 50 digits, in rounding units: some ten operations of half a
# unit each; higher orders, to the sixth, are measured against the larger of themselves and σ′.
TRANSFORM_EPS = 16

# The accurate sigmoid against 50 digits, in ULP. Rounded once from float64, it is off by half a ULP
# and next to nothing; torch rounds to float16 by way of float32, which adds 2⁻¹⁴ at most. In
# float64 every operation counts: 0.66 for an exponential, and half for each of two more (σ), four
# (σ′) and seven (σ″), all of it up to twice where a result is just above a power of 2.
ROUNDED_ONCE = dict.fromkeys(("σ", "σ′", "σ″"), 0.5001)
ACCURATE_ULP = {
    torch.float16: ROUNDED_ONCE,
    torch.bfloat16: ROUNDED_ONCE,
    torch.float32: ROUNDED_ONCE,
    torch.float64: {"σ": 2.5, "σ′": 4.0, "σ″": 5.0},
}

# A fused step against the truth, in rounding units of a result's largest entry, where all terms of
# its sums have one sign: z, δ and the sum are a few roundings each, since sums go on in float64
# after 512 terms. Terms of both signs lose what cancels besides.
FUSED_EPS = 8

# An epoch of fused steps against the same steps in float64, relative and absolute: a batch's sums
# round in another order, and descent forgets errors as it goes. 16-bit weights round at the end.
EPOCH_RELATIVE = {torch.float64: 1e-13, torch.float32: 2e-5, torch.bfloat16: 2**-8}

# e^{−a} and ln(1 + e) of the fused step's vectors against 50 digits, in ULP: half a one
# for each rounding, of the series and the result; of 2 + e, the quotient, series and product.
ELEMENTARY_ULP = {"exp_minus": 1, "log_1_plus": 2}

# The page's numbers after 100 steps against backprop's, both in float64: sums of a few products in
# another order, and an exponential of another library, which is off by one place at most.
PAGE_RELATIVE = 1e-12
