"""The file that TensorBoard reads of one run: its records, each tag with its description."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from bp_torch.table.storage import naming
from bp_torch.training.durable import flush_to_disk
from bp_torch.training.tags import LAYOUT, TAGS, general

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

NAME = "events.out.tfevents.{}.bp_torch"
"""TensorBoard reads files whose name has "tfevents" in it; between is when they were begun."""

BINS = 30
"""Of a histogram."""

MOST_VALUES = 10_000
"""In a histogram: with more it costs more than all else that is looked at."""

SHOWN_FIRST = ("learning_rate", "seed", "layers", "mistake", "cost")
"""TensorBoard ticks five hyperparameters, and takes those first that are said to differ."""


class EventFile:
    """Writes one run's event file.

    The records are TensorBoard's own. They are written in the thread that trains: SummaryWriter
    hands each to a second thread, whose contention for Python's interpreter lock slowed every step
    by 10 to 20% on two cores, where writing here takes 1%.

    Args:
        directory: the run's folder.
        hyperparameters: shown beside the run's final metrics, in this order.
        metrics: tags whose last value counts as the run's result.
        before: the files of a run that goes on, with their sizes when it stood at `step`; what was
            written later is cut off, so that each step is seen once.
        step: where the run stands.
    """

    def __init__(
        self,
        directory: Path,
        hyperparameters: dict[str, str | int | float],
        metrics: tuple[str, ...],
        before: dict[str, int] | None = None,
        step: int = 0,
    ) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._before = before or {}
        self.lost = _cut_back(directory, self._before)
        """Files of `before` that are not there any more, or not all of them."""
        # TensorBoard reads them in the order of their names.
        latest = max((int(name.split(".")[3]) for name in self._before), default=0)
        number = max(int(time.time()), latest + 1)
        self._path = directory / NAME.format(number)
        self._file = open(self._path, "xb")  # noqa: SIM115
        self._records = RecordWriter(self._file)
        self._described: set[str] = set()
        self.empty = True
        try:
            self._begin(hyperparameters, metrics, step)
        except BaseException:
            self._file.close()
            raise

    def _begin(
        self, hyperparameters: dict[str, str | int | float], metrics: tuple[str, ...], step: int
    ) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from torch.utils.tensorboard.summary import custom_scalars, hparams

        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # SummaryWriter.add_hparams would open a second run beside this one; its three records
        # written into the run's own file show the same table.
        experiment, start, self._end = hparams(hyperparameters, dict.fromkeys(metrics, 0.0), None)
        if self._before:
            # A TensorBoard that is looking on forgets what it has seen of later steps.
            log = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=step, session_log=log))
            return
        _mark_first(experiment)
        for summary in (experiment, start, custom_scalars(LAYOUT)):
            self._write_summary(summary, 0)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """A number for each tag."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto

        plugin = SummaryMetadata.PluginData(plugin_name="scalars")
        found = [
            Summary.Value(
                tag=tag,
                tensor=TensorProto(dtype="DT_FLOAT", float_val=[value]),
                metadata=SummaryMetadata(plugin_data=plugin),
            )
            for tag, value in values.items()
        ]
        self._write_summary(Summary(value=found), step)

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """How the values are spread; of very many, some at regular distances."""
        from torch.utils.tensorboard.summary import histogram

        values = values.flatten()[:: -(-values.numel() // MOST_VALUES)]
        # In float64: bfloat16 is not known to NumPy, and a width may exceed what float32 holds.
        self._write_summary(histogram(tag, values.double().cpu().numpy(), bins=BINS), step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        """A text in Markdown."""
        from torch.utils.tensorboard.summary import text

        summary = text(tag, markdown)
        summary.value[0].tag = tag
        self._write_summary(summary, step)

    def image(self, tag: str, png: bytes, size: tuple[int, int], step: int) -> None:
        """A picture, its width and height in pixels."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=png)
        self._write_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def precision_recall(self, tag: str, labels: Tensor, outputs: Tensor, step: int) -> None:
        """Precision over recall for two classes."""
        from torch.utils.tensorboard.summary import pr_curve

        labels, outputs = labels.double().cpu(), outputs.double().cpu()
        self._write_summary(pr_curve(tag, labels.numpy(), outputs.numpy()), step)

    def flush(self) -> None:
        """Let what was written be seen."""
        with naming(self._path):
            self._file.flush()

    def sizes(self) -> dict[str, int]:
        """The files of this run with their sizes, once the disk has all of it."""
        with naming(self._path):
            self._file.flush()
            flush_to_disk(self._file.fileno())
            return self._before | {self._path.name: self._file.tell()}

    def close(self, *, failed: bool) -> None:
        """Mark how the run has ended and close its file, which is removed where nothing is seen."""
        from tensorboard.plugins.hparams import api_pb2

        status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
        with _content(self._end) as content:
            content.session_end_info.status = status
        try:
            self._write_summary(self._end, 0)
        finally:
            with naming(self._path):
                self._file.close()
        if self.empty:
            self._path.unlink()

    def abandon(self) -> None:
        """Let go of the file as it is."""
        with suppress(OSError):
            self._file.close()

    def _write_summary(self, summary: "Summary", step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        for value in summary.value:
            if (meaning := TAGS.get(general(value.tag))) and value.tag not in self._described:
                value.metadata.summary_description = meaning  # with its first record
                if not value.metadata.plugin_data.plugin_name:
                    kind = "images" if value.HasField("image") else "histograms"
                    value.metadata.plugin_data.plugin_name = kind
                self._described.add(value.tag)
                self.empty = False
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: "Event") -> None:
        with naming(self._path):
            self._records.write(event.SerializeToString())


def _cut_back(directory: Path, sizes: dict[str, int]) -> list[str]:
    """Leave of the event files in the folder what they were; returns those that lack something."""
    whole = set()
    for path in directory.glob(NAME.format("*")):
        if path.name not in sizes:
            path.unlink()
        elif path.stat().st_size >= sizes[path.name]:
            os.truncate(path, sizes[path.name])
            whole.add(path.name)
    return sorted(sizes.keys() - whole)


@contextmanager
def _content(summary: "Summary") -> Iterator["HParamsPluginData"]:
    """What the HParams plugin reads in a record, to be changed."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    (value,) = summary.value
    data = value.metadata.plugin_data
    content = plugin_data_pb2.HParamsPluginData.FromString(data.content)
    yield content
    data.content = content.SerializeToString()


def _mark_first(experiment: "Summary") -> None:
    with _content(experiment) as content:
        for hyperparameter in content.experiment.hparam_infos:
            hyperparameter.differs = hyperparameter.name in SHOWN_FIRST
