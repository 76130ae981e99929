"""What TensorBoard would read of a run."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(directory):
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    return events
