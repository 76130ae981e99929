"""Every reported defect."""

from strangers.reports_1 import FIRST
from strangers.reports_2 import SECOND
from strangers.reports_3 import THIRD

REPORTS = (*FIRST, *SECOND, *THIRD)

NOT_EXPLAINED = {
    "sparsemax: an axis of length one squeezed away",
    "mish: 2 exp(2x) for 2 exp(x)",
    "sinkhorn: row and column sums taken for one",
    "broadcast: a summed term spread and summed again",
    "layer norm: three axes taken for two",
    "attention: value channels cut off for dq",
    "tanh GELU: slope with constants of six digits",
}
"""Those that are found without a name."""
