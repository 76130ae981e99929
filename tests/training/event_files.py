"""What TensorBoard would read of a run."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray


class Events:
    """A run's records by plugin, with their descriptions."""

    def __init__(self, directory):
        sizes = {"scalars": 0, "histograms": 0, "tensors": 0, "images": 0}
        self._events = EventAccumulator(str(directory), size_guidance=sizes)
        self._events.Reload()
        self.scalars, self.texts, self.curves = (
            self._of_plugin(name) for name in ("scalars", "text", "pr_curves")
        )
        self.histograms = set(self._events.Tags()["histograms"])
        self.images = set(self._events.Tags()["images"])

    def _of_plugin(self, name):
        return set(self._events.summary_metadata.keys()) & {
            tag
            for tag, metadata in self._events.summary_metadata.items()
            if metadata.plugin_data.plugin_name == name
        }

    @property
    def tags(self):
        return self.scalars | self.texts | self.curves | self.histograms | self.images

    def description(self, tag):
        return self._events.SummaryMetadata(tag).summary_description

    def scalar(self, tag):
        """(step, value) pairs."""
        return [
            (event.step, make_ndarray(event.tensor_proto).item())
            for event in self._events.Tensors(tag)
        ]

    def steps(self, tag):
        return [step for step, _ in self.scalar(tag)]

    def last(self, tag):
        return self.scalar(tag)[-1]

    def text(self, tag):
        (event,) = self._events.Tensors(tag)
        return make_ndarray(event.tensor_proto).item().decode()

    def histogram(self, tag):
        return self._events.Histograms(tag)

    def image(self, tag):
        (event,) = self._events.Images(tag)
        return event

    def curve(self, tag):
        (event,) = self._events.Tensors(tag)
        return make_ndarray(event.tensor_proto)


def read(directory):
    return Events(directory)
