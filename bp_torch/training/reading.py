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
    """The table, once every process has it.

    Raises what is wrong with it in the first process; ValueError, where it is so in another one
    alone, or where they have not read the same; and in the others FirstFailedError.
    """
    table: Table | None = None
    mine: ValueError | OSError | None = None
    try:
        table = read(config)
    except (ValueError, OSError) as error:
        mine = error
    if mine is not None and together.size == 1:
        raise mine
    said = together.all_say((table and table.fingerprint, None if mine is None else str(mine)))
    for rank, (fingerprint, trouble) in enumerate(said):
        wrong = trouble
        if trouble is None and fingerprint != said[0][0]:
            wrong = (
                "has read another table than the first; give each process the same data, all of it"
            )
        if wrong is not None:
            together.fail(wrong if rank == 0 else f"process {rank}: {wrong}")
    assert table is not None
    return table


def _source(config: Config, dataset: object, target: object) -> tuple[Source, str | None]:
    """Where the table comes from, and the name of its target."""
    source = source_of(dataset, config.columns)
    if target is None or isinstance(target, str):
        return source, target
    return with_target(source, target)
