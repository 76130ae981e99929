"""The table that a run learns from, in every process that trains."""

from bp_torch.table.cache import table_of
from bp_torch.table.memory import with_target
from bp_torch.table.source import Source
from bp_torch.table.table import Table
from bp_torch.training.config import Config
from bp_torch.training.prediction import source_of
from bp_torch.training.processes import Processes


def read(config: Config) -> Table:
    """The table; raises ValueError, in one line, for what is none."""
    source, target = _source(config, config.dataset, config.target)
    test = None if config.test is None else _source(config, config.test, None)[0]
    return table_of(
        source,
        config.choice(target),
        test=test,
        dtype="float64" if config.dtype == "float64" else "float32",
        cache=config.cache,
    )


def read_by_all(together: Processes, config: Config) -> Table:
    """The table, once every process has it; where one has not, all raise what it has to say.

    Raises ValueError where they have not read the same, too.
    """
    table, mine = None, None
    try:
        table = read(config)
    except (ValueError, OSError) as error:
        mine = error
    said = together.all_say((table and table.fingerprint, None if mine is None else str(mine)))
    if mine is not None and said[0][1] == str(mine):
        raise mine
    for rank, (fingerprint, trouble) in enumerate(said):
        if trouble is not None:
            raise ValueError(f"process {rank}: {trouble}")
        if fingerprint != said[0][0]:
            raise ValueError(
                f"process {rank} has read another table than the first; give each process the same "
                f"data, all of it, of which they share out the work"
            )
    assert table is not None
    return table


def _source(config: Config, dataset: object, target: object) -> tuple[Source, str | None]:
    """Where the table comes from, and the name of its target."""
    source = source_of(dataset, config.columns)
    if target is None or isinstance(target, str):
        return source, target
    return with_target(source, target)
