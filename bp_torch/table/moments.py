"""Mean and deviation of each feature, block by block, without losing a large offset."""

import numpy as np
from numpy.typing import NDArray

from bp_torch.table.columns import Numbers

LARGEST = 2.0**500
"""Beyond it, and below its inverse, squares leave the range of float64."""


class Moments:
    """Means and sums of squared deviations of rows that come in blocks.

    Each block is measured about its own mean, and blocks are merged by the formula of Chan, Golub &
    LeVeque (1983), "Algorithms for Computing the Sample Variance", eq. (2.1): a difference of means
    is exact where a difference of sums of squares would have cancelled. NaN is left out.
    """

    def __init__(self, features: int, scale: Numbers | None = None) -> None:
        self._scale = scale
        self._shift: Numbers | None = None
        self._counts = np.zeros(features)
        self._mean = np.zeros(features)
        self._squares = np.zeros(features)
        self._largest = np.zeros(features)

    def add(self, x: Numbers) -> None:
        """Rows (n, D)."""
        if not len(x):
            return
        if self._scale is not None:
            x = x * self._scale
        if self._shift is None:  # of numbers far from 0 the mean itself would be rounded off
            self._shift = np.where(np.isfinite(x[0]), x[0], 0.0)
        self._largest = np.fmax(self._largest, np.fmax(np.fmax.reduce(x), -np.fmin.reduce(x)))
        with np.errstate(over="ignore"):
            x = x - self._shift
        present = np.isfinite(x)
        if present.all():
            counts, known = np.full(x.shape[1], float(len(x))), x
        else:
            counts, known = present.sum(0).astype(float), np.where(present, x, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):  # and measured again, scaled
            n = np.maximum(counts, 1)
            mean = known.sum(0) / n
            off = np.where(present, x - mean, 0.0) if known is not x else x - mean
            rest = off.sum(0) / n  # what the mean, a rounded sum, is itself off by
            squares = np.einsum("nd,nd->d", off, off) - counts * rest * rest
            total = np.maximum(self._counts + counts, 1)
            difference = mean + rest - self._mean
            self._mean += difference * (counts / total)
            self._squares += squares + difference * difference * (self._counts * counts / total)
        self._counts += counts

    @property
    def sound(self) -> bool:
        """Whether no square has left the range of float64."""
        extreme = (self._largest > LARGEST) | (self._largest < 1 / LARGEST)
        return self._scale is not None or not (extreme & (self._largest > 0)).any()

    def scaled(self) -> "Moments":
        """To measure the same again, each feature by a power of two that brings it near 1."""
        exponents = np.frexp(self._largest)[1].clip(-1020, 1020)
        return Moments(len(self._mean), np.ldexp(1.0, -exponents))

    def mean(self) -> Numbers:
        """μ of each feature."""
        mean = self._mean if self._shift is None else self._shift + self._mean
        return mean if self._scale is None else mean / self._scale

    def deviation(self) -> Numbers:
        """s of each feature; 1 for one that never varies, so that it becomes 0."""
        found = self._deviation()
        return np.where(self.constant(), 1.0, found if self._scale is None else found / self._scale)

    def constant(self) -> NDArray[np.bool_]:
        """Which features never vary; their deviation may come out as rounding noise, not as 0."""
        return np.asarray(self._deviation() <= np.finfo(float).eps * self._largest)

    def _deviation(self) -> Numbers:
        return np.sqrt(np.maximum(self._squares, 0) / np.maximum(self._counts, 1))
