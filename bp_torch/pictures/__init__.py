"""Figures of a step and of a descent, for files and for TensorBoard.

matplotlib loads when the first one is drawn, and neither pyplot nor a setting of its user's is
touched.
"""

from bp_torch.pictures.canvas import DPI, png, save, to_rgb
from bp_torch.pictures.circuit import circuit_figure
from bp_torch.pictures.cost_surface import cost_surface_figure
from bp_torch.pictures.delta import delta_figure
from bp_torch.pictures.sigma_prime import sigma_prime_figure

__all__ = [
    "DPI",
    "circuit_figure",
    "cost_surface_figure",
    "delta_figure",
    "png",
    "save",
    "sigma_prime_figure",
    "to_rgb",
]
