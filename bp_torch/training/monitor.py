"""What TensorBoard sees of a run: numbers on the way, and pictures at the end of what was kept."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bp_torch.chain_rule import Chain
from bp_torch.neuron import Model
from bp_torch.training.data import Data
from bp_torch.training.event_file import EventFile
from bp_torch.training.measurements import Factors, rms
from bp_torch.training.tags import glossary

LOOKS_PER_HISTOGRAM = 5
"""A histogram costs as much as all scalars together, so it is drawn at every fifth look."""

MOST_KEPT = 10_000
"""Weights of the first layer that are kept at every look; of a larger one the first two."""


class Monitor:
    """Writes what a run looks like, and keeps what its pictures are drawn from."""

    def __init__(
        self,
        directory: Path,
        hyperparameters: dict[str, str | int | float],
        metrics: tuple[str, ...],
        feature_names: tuple[str, ...],
        state: dict[str, Any] | None = None,
        step: int = 0,
    ) -> None:
        state = state or {}
        self._events = EventFile(directory, hyperparameters, metrics, state.get("files"), step)
        self.lost = self._events.lost
        self._names = feature_names
        start: list[float] | None = state.get("start")
        self._looks: int = state.get("looks", 0)
        self._start = None if start is None else Factors(*start)
        self._steps: list[int] = state.get("steps", [])
        self._deltas: list[list[float]] = state.get("deltas", [])
        self._weights: list[Tensor] = list(state.get("weights", []))

    def begin(self, first_step: str, command: str) -> None:
        """Say what this run is."""
        for tag, text in (
            ("run/1_first_step", first_step),
            ("run/2_tags", glossary()),
            ("run/3_command", command),
        ):
            self._events.text(tag, text, 0)

    def look(
        self,
        step: int,
        scalars: dict[str, float],
        module: Model,
        chain: Chain,
        *,
        histograms: bool = False,
    ) -> None:
        """Write the scalars of one step, and at every fifth look, or where asked for, the
        histograms of weights and σ′."""
        factors = Factors.of(chain)
        self._start = self._start or factors
        shares = factors.shares_of(self._start)
        if len(module.layers) == 1:
            shares.pop("shares/3_dz_dw", None)  # the data, which do not change
        self._events.scalars(scalars | factors.scalars() | shares, step)
        if histograms or self._looks % LOOKS_PER_HISTOGRAM == 0:
            pairs = zip(module.layers, chain.layers, strict=True)
            for number, (layer, link) in enumerate(pairs, start=1):
                self._events.histogram(f"weights/layer_{number}", layer.weight.detach(), step)
                self._events.histogram(f"sigmoid_prime/layer_{number}", link.dy_hat_dz, step)
        self._keep(step, module, chain)
        self._looks += 1
        self._events.flush()

    def end(self, step: int, module: Model, chain: Chain, data: Data, cost: str) -> None:
        """Draw what was kept: a picture takes longer than a hundred steps, so none is drawn on the
        way."""
        from bp_torch import pictures
        from bp_torch.training.figures import calibration_figure, weights_figure

        z = chain.z.reshape(len(chain.z), -1)[:, 0]
        weights = torch.stack(self._weights)
        first, second = _moved_most(weights)
        figures = {
            "pictures/sigma_prime": pictures.sigma_prime_figure(
                z, title=f"σ and the {len(z)} training samples after {step} steps"
            ),
            "pictures/delta": pictures.delta_figure(self._steps, self._deltas),
            "pictures/cost_surface": pictures.cost_surface_figure(
                module,
                data.train.x,
                data.train.y,
                cost=cost,
                path=[(w[first].item(), w[second].item()) for w in weights],
                weights=(first, second),
            ),
        }
        if len(module.layers) == 1:
            figures["pictures/weights"] = weights_figure(self._names, module.layers[0].weight)
        if data.test.y.shape[1:] in ((), (1,)):
            with torch.no_grad():
                outputs = module(data.test.x)
            self._events.precision_recall(
                "classes/precision_recall", data.test.y > 0.5, outputs, step
            )
            figures["pictures/calibration"] = calibration_figure(data.test.y, outputs)
        for tag, figure in figures.items():
            width, height = (round(v * pictures.DPI) for v in figure.get_size_inches())
            self._events.image(tag, pictures.png(figure), (width, height), step)

    def state(self) -> dict[str, Any]:
        """What a monitor that goes on takes; the disk then has all that was written."""
        return {
            "files": self._events.sizes(),
            "looks": self._looks,
            "start": None if self._start is None else list(vars(self._start).values()),
            "steps": self._steps,
            "deltas": self._deltas,
            "weights": torch.stack(self._weights) if self._weights else [],
        }

    def close(self, *, failed: bool) -> None:
        """Mark how the run has ended."""
        self._events.close(failed=failed)

    def abandon(self) -> None:
        """Write nothing more."""
        self._events.abandon()

    def _keep(self, step: int, module: Model, chain: Chain) -> None:
        self._steps.append(step)
        self._deltas.append([rms(link.delta) for link in chain.layers])
        layer = module.layers[0]
        numbers = torch.cat([layer.weight.detach().flatten(), layer.bias.detach().flatten()])
        if len(numbers) > MOST_KEPT:
            numbers = numbers[:2]
        self._weights.append(numbers.double().cpu())


def _moved_most(weights: Tensor) -> tuple[int, int]:
    """The places of the two numbers that moved most, in order; looks are in rows."""
    first, second = sorted((weights.amax(0) - weights.amin(0)).topk(2).indices.tolist())
    return first, second
