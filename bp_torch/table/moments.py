"""Mean and deviation of each feature, block by block, without losing a large offset."""

import numpy as np
from numpy.typing import NDArray

from bp_torch.table.columns import Numbers

SMALLEST, LARGEST = 2.0**-900, 2.0**900
"""Of a sum of squares: beyond, some of them have left the range of float64."""


class Moments:
    """Means and sums of squared deviations of rows that come in blocks.

    Everything is measured from the first row, so that of numbers far from 0 nothing is rounded off;
    each block about its own mean, and blocks are merged by the formula of Chan, Golub & LeVeque
    (1983), "Algorithms for Computing the Sample Variance", eq. (2.1): a difference of means is
    exact where a difference of sums of squares would have cancelled. NaN is left out.
    """

    def __init__(self, features: int, scale: Numbers | None = None) -> None:
        self._scale = scale
        self._shift: Numbers | None = None
        self._counts = np.zeros(features)
        self._mean = np.zeros(features)
        self._squares = np.zeros(features)

    def add(self, x: Numbers) -> None:
        """Rows (n, D)."""
        if not len(x):
            return
        if self._scale is not None:
            x = x * self._scale
        if self._shift is None:
            self._shift = np.where(np.isfinite(x[0]), x[0], 0.0)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is measured again
            off = x - self._shift
            total = off.sum(0)
            counts = np.full(len(total), float(len(off)))
            present = None
            if not np.isfinite(total).all():
                present = np.isfinite(off)
                counts, off = present.sum(0).astype(float), np.where(present, off, 0.0)
                total = off.sum(0)
            n = np.maximum(counts, 1)
            mean = total / n
            off -= mean
            if present is not None:
                off *= present
            rest = off.sum(0) / n  # what the mean, a rounded sum, is itself off by
            squares = np.einsum("nd,nd->d", off, off) - counts * rest * rest
            both = np.maximum(self._counts + counts, 1)
            difference = mean + rest - self._mean
            self._mean += difference * (counts / both)
            self._squares += squares + difference * difference * (self._counts * counts / both)
        self._counts += counts

    @property
    def sound(self) -> bool:
        """Whether all squares are in the range of float64; 0 may be one that is not."""
        inside = (self._squares >= SMALLEST) & (self._squares <= LARGEST)
        return self._scale is not None or bool(inside.all())

    def scaled(self, largest: Numbers) -> "Moments":
        """To measure the same again, each feature by a power of two that brings the largest of its
        sizes near 1."""
        exponents = np.frexp(largest)[1].clip(-1020, 1020)
        return Moments(len(self._mean), np.ldexp(1.0, -exponents))

    def mean(self) -> Numbers:
        """μ of each feature."""
        mean = self._mean if self._shift is None else self._shift + self._mean
        return mean if self._scale is None else mean / self._scale

    def deviation(self) -> Numbers:
        """s of each feature; 1 for one that never varies, so that it becomes 0."""
        found = np.sqrt(np.maximum(self._squares, 0) / np.maximum(self._counts, 1))
        return np.where(self.constant(), 1.0, found if self._scale is None else found / self._scale)

    def constant(self) -> NDArray[np.bool_]:
        """Which features never vary."""
        return np.asarray(self._squares == 0)
