"""What is left of a run: the model as it is saved, where it is, and what others can use of it."""

import copy
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

from bp_torch.dtypes import DTYPES
from bp_torch.neuron import Model
from bp_torch.table.table import Table
from bp_torch.training.config import Config
from bp_torch.training.course import Course
from bp_torch.training.data import Data
from bp_torch.training.export import to_onnx, to_pt2
from bp_torch.training.keeper import Keeper
from bp_torch.training.model import describe
from bp_torch.training.model_file import save
from bp_torch.training.observer import Observer
from bp_torch.training.prediction import first_rows, source_of
from bp_torch.training.result import Result
from bp_torch.training.resumption import versions
from bp_torch.training.run_folder import MODEL
from bp_torch.training.score import evaluate, metrics
from bp_torch.training.trained import About, TrainedModel


def conclude(
    config: Config,
    table: Table,
    course: Course,
    observer: Observer | None,
    keeper: Keeper | None,
    directory: Path,
    notes: list[str],
) -> Result:
    """Save the model, look once more, and say what came of it, in the process that does."""
    assert observer is not None
    assert keeper is not None
    seconds = course.seconds
    course.stopping.keep_best()
    # First of all, so that nothing that comes can take it along.
    model = as_saved(config, course.module, table)
    path, elsewhere = kept(model, directory)
    observer.after()
    parts = Data.of(table, model.module)
    scores = [evaluate(model.module, part, config.cost) for part in parts]
    measured = [metrics(model.module, part) for part in parts]
    for name, score, metric in zip(("training", "held_out"), scores, measured, strict=True):
        model.about.metrics[name] = asdict(score) | asdict(metric)
    if path is not None:
        path, elsewhere = kept(model, directory)
    exported, failed = exports(config, model, directory)
    return Result(
        config=Config(),  # each process has its own, and has read the table itself
        directory=directory,
        path=path,
        model=model,
        exported=exported,
        description=describe(course.module),
        train=scores[0],
        test=scores[1],
        train_metrics=measured[0],
        test_metrics=measured[1],
        comparison=observer.comparison,
        notes=(*table.notes, *notes, *failed, *observer.trouble, *elsewhere),
        steps=observer.steps,
        seconds=seconds,
        reading=0.0,
        checkpoint=keeper.last,
        trouble=tuple(keeper.trouble),
        signal=None,
        stopped=course.stopping.over,
    )


def as_saved(config: Config, module: Model, table: Table) -> TrainedModel:
    """The module as it is saved: on the CPU, in float32 or float64, behind its standardisation."""
    about = About(
        columns=table.columns,
        target=table.target,
        content=table.content,
        training=config.hyperparameters(),
        versions=versions(),
    )
    dtype = torch.promote_types(DTYPES[config.dtype], torch.float32)
    mean, deviation = torch.from_numpy(table.mean), torch.from_numpy(table.deviation)
    saved = copy.deepcopy(module).to(device="cpu", dtype=dtype)
    return TrainedModel(saved, mean, deviation, about)


def kept(model: TrainedModel, directory: Path) -> tuple[Path | None, list[str]]:
    """Where the model is, and what was in the way: where its folder is full, elsewhere."""
    try:
        save(model, directory / MODEL)
        return directory / MODEL, []
    except OSError as error:
        trouble = [f"the model could not be saved there: {error}"]
    for elsewhere in (Path(tempfile.gettempdir()), Path.home(), Path.cwd()):
        path = elsewhere / f"{directory.name}-{time.time_ns()}.safetensors"
        try:
            save(model, path)
            return path, [*trouble, f"it is saved in {path} instead"]
        except OSError:
            continue
    return None, [*trouble, "nor anywhere else; it is in the result"]


def exports(
    config: Config, model: TrainedModel, directory: Path
) -> tuple[tuple[Path, ...], list[str]]:
    """The model for other programs, held against itself on real rows; what was in the way."""
    wanted = {"model.onnx": config.onnx and to_onnx, "model.pt2": config.pt2 and to_pt2}
    done: list[Path] = []
    trouble: list[str] = []
    for name, write in wanted.items():
        if not write:
            continue
        try:
            rows = first_rows(model, source_of(config.dataset, config.columns))
            write(model, directory / name, rows)
            done.append(directory / name)
        except Exception as error:  # whatever others' exporters raise: the model itself is saved
            trouble.append(f"{name} was not written: {' '.join(str(error).split())[:300]}")
    return tuple(done), trouble
