"""What TensorBoard sees of a run: few tags, in groups."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bp_torch.chain_rule import Chain
from bp_torch.neuron import Model
from bp_torch.training.gradients import NamedGradients

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

SATURATED_BELOW = 0.01
"""A unit with σ′ under this, 4% of its maximum, hardly learns."""

LOOKS_PER_HISTOGRAM = 5
"""A histogram costs as much as all scalars together, so it is drawn at every fifth look."""

BINS = 30

LAYOUT = {
    "chain rule": {
        "root mean square of each factor": [
            "Multiline",
            ["chain/dC_dy_hat", "chain/dy_hat_dz", "chain/dz_dw"],
        ]
    }
}


def chain_scalars(chain: Chain) -> dict[str, float]:
    """The size of the three factors at the output, and the share of saturated units anywhere."""
    sigma_primes = torch.cat([layer.dy_hat_dz.flatten() for layer in chain.layers])
    return {
        "chain/dC_dy_hat": _root_mean_square(chain.dC_dy_hat),
        "chain/dy_hat_dz": _root_mean_square(chain.dy_hat_dz),
        "chain/dz_dw": _root_mean_square(chain.dz_dw),
        "saturation/share": (sigma_primes < SATURATED_BELOW).double().mean().item(),
    }


def update_scalars(
    module: Model, gradients: NamedGradients, learning_rate: float
) -> dict[str, float]:
    """‖∂C/∂θ‖ over all parameters θ, and the coming update relative to them, ν‖∂C/∂θ‖/‖θ‖."""
    gradient = _norm(list(gradients.values()))
    parameters = _norm([parameter.detach() for parameter in module.parameters()])
    return {
        "gradient/norm": gradient,
        "update/relative_size": learning_rate * gradient / parameters if parameters else 0.0,
    }


def _root_mean_square(factor: Tensor) -> float:
    return factor.double().square().mean().sqrt().item()


def _norm(tensors: list[Tensor]) -> float:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    return flat.double().square().sum().sqrt().item()


class Monitor:
    """Writes one run's event file.

    The records are TensorBoard's own. They are written in the thread that trains: SummaryWriter
    hands each to a second thread, whose contention for Python's interpreter lock slowed every step
    by 10 to 20% on two cores, where writing here takes 1%.

    Args:
        directory: the run's folder.
        hyperparameters: shown beside the run's final metrics.
        metrics: tags whose last value counts as the run's result.
    """

    def __init__(
        self,
        directory: Path,
        hyperparameters: dict[str, str | int | float],
        metrics: tuple[str, ...],
    ) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard.summary import custom_scalars, hparams

        # TensorBoard reads files whose name has "tfevents" in it.
        self._path = directory / f"events.out.tfevents.{int(time.time())}.bp_torch"
        self._file = open(self._path, "xb")  # noqa: SIM115
        self._records = RecordWriter(self._file)
        self._looks = 0
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # SummaryWriter.add_hparams would open a second run beside this one; its three records
        # written into the run's own file show the same table.
        experiment, start, self._end = hparams(hyperparameters, dict.fromkeys(metrics, 0.0), None)
        for summary in (experiment, start, custom_scalars(LAYOUT)):
            self._write_summary(summary, 0)

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
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write_summary(Summary(value=values), step)
        if histograms or self._looks % LOOKS_PER_HISTOGRAM == 0:
            pairs = zip(module.layers, chain.layers, strict=True)
            for number, (layer, link) in enumerate(pairs, start=1):
                self._write_histogram(f"weights/layer_{number}", layer.weight.detach(), step)
                self._write_histogram(f"sigmoid_prime/layer_{number}", link.dy_hat_dz, step)
        self._looks += 1
        self._file.flush()

    def close(self) -> None:
        """Mark the run as ended and close its file, which is removed where nothing was seen."""
        self._write_summary(self._end, 0)
        self._file.close()
        if not self._looks:
            self._path.unlink()

    def _write_histogram(self, tag: str, values: Tensor, step: int) -> None:
        from torch.utils.tensorboard.summary import histogram

        # In float64: bfloat16 is not known to NumPy, and a width may exceed what float32 holds.
        self._write_summary(histogram(tag, values.double().cpu().numpy(), bins=BINS), step)

    def _write_summary(self, summary: "Summary", step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: "Event") -> None:
        self._records.write(event.SerializeToString())
