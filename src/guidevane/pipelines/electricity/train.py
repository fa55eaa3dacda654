"""Train the members again: ``python -m guidevane.pipelines.electricity.train --data DIR --out DIR``.

Time is kept: of the first three fifths of the readings, three quarters are fitted, an eighth says when to stop, an
eighth weighs the members against each other; the last two fifths are only looked at to be measured. One thread and
one seed: on one machine type the same data give the same bytes.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import orjson
import safetensors.torch
import torch
import typer
import xgboost
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from river import linear_model, optim

from guidevane.pipelines.electricity import pipeline
from guidevane.pipelines.electricity.data import SLICE, Readings, held_out_from, read, write_slice
from guidevane.pipelines.electricity.members import Nets
from guidevane.pipelines.scoring import measure
from guidevane.pipelines.training import Part, Training
from guidevane.registry.manifest import digest

if TYPE_CHECKING:
    from collections.abc import Callable


SEED = 19960507
_EPOCHS, _BATCH, _RATE = 8, 256, 4e-3
_MEMBERS = {member.name: member for member in pipeline.ensemble.members}


def split(readings: Readings) -> tuple[Part, Part, Part, Part]:
    """Return four parts in time order: to fit, to know when to stop, to weigh the members, to measure.

    Windows run through all of them, as they do in the stream.
    """
    events = [readings.event(index) for index in range(len(readings))]
    matrix = pipeline.vector.matrix(pipeline.columns(events))
    last = held_out_from(readings)
    ends = [0, last * 18 // 24, last * 21 // 24, last, len(readings)]
    fit, stop, weigh, later = (
        Part(pipeline, matrix[start:end], readings.up[start:end]) for start, end in itertools.pairwise(ends)
    )
    return fit, stop, weigh, later


def fit_nets(fit: Part, stop: Part, tick: Callable[[], None]) -> bytes:
    """Fit the networks; return the weights of the epoch that the stopping part liked best, as safetensors."""
    torch.manual_seed(SEED)
    rows, truth = torch.from_numpy(fit.of("nets")), torch.from_numpy(fit.truth).float()
    held, held_truth = torch.from_numpy(stop.of("nets")), torch.from_numpy(stop.truth).float()
    network = Nets(rows.shape[1])
    steps = -(-len(rows) // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_EPOCHS * steps)
    loss = torch.nn.BCEWithLogitsLoss()
    best, weights = float("inf"), b""
    for _ in range(_EPOCHS):
        network.train()
        order = torch.randperm(len(rows))
        for start in range(0, len(rows), _BATCH):
            batch = order[start : start + _BATCH]
            optimiser.zero_grad()
            voices = network.voices(rows[batch])
            loss(voices, truth[batch].unsqueeze(1).expand_as(voices)).backward()
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.inference_mode():
            lost = float(loss(network(held), held_truth))
        if lost < best:
            best, weights = lost, safetensors.torch.save(network.state_dict())
        tick()
    return weights


def fit_trees(fit: Part, stop: Part) -> bytes:
    """Fit boosted trees until the stopping part gains nothing; return them as UBJSON."""
    booster = xgboost.train(
        {
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "tree_method": "hist",
            "eta": 0.1,
            "max_depth": 4,
            "min_child_weight": 10,
            "subsample": 0.8,
            "colsample_bytree": 0.5,
            "nthread": 1,
            "seed": SEED,
        },
        xgboost.DMatrix(fit.matrix, fit.truth),
        num_boost_round=200,
        evals=[(xgboost.DMatrix(stop.matrix, stop.truth), "stop")],
        early_stopping_rounds=20,
        verbose_eval=False,
    )
    return bytes(booster[: booster.best_iteration + 1].save_raw("ubj"))


def fit_online(*parts: Part) -> bytes:
    """Let River's logistic regression learn reading by reading, in order; return its weights as JSON."""
    model = linear_model.LogisticRegression(optimizer=optim.SGD(0.02), l2=1e-5)
    for part in parts:
        for row, up in zip(part.of("online").tolist(), part.truth.tolist(), strict=True):
            model.learn_one(dict(enumerate(row)), up)
    width = len(pipeline.vector.places(_MEMBERS["online"].inputs))
    weights = [float(model.weights.get(place, 0.0)) for place in range(width)]
    return orjson.dumps({"weights": weights, "intercept": float(model.intercept)})


def without_windows(fit: Part, stop: Part, later: Part) -> dict[str, float]:
    """Return how good the same trees are that know the reading alone: no mean, no count."""
    windows = {window.name for window in pipeline.vector.windows}
    blind = [each.name for each in pipeline.vector.encoders if not windows & set(each.reads)]
    seen = pipeline.vector.places(blind)
    fit, stop, later = (Part(pipeline, part.matrix[:, seen], part.truth) for part in (fit, stop, later))
    booster = xgboost.Booster()
    booster.load_model(bytearray(fit_trees(fit, stop)))
    return measure(np.asarray(booster.inplace_predict(later.matrix), dtype=np.float64), later.truth)


def main(
    data: Annotated[Path, typer.Option(envvar="GUIDEVANE_DATA", help="Holds electricity/elec2.parquet.")],
    out: Annotated[Path, typer.Option(help="The model directory.")] = pipeline.models or Path("models"),
    version: Annotated[str, typer.Option(help="What the trained version is called.")] = "1",
    slice_to: Annotated[Path, typer.Option(help="Where the slice for the demo goes.")] = SLICE,
) -> None:
    """Train the members of the electricity pipeline, and say how good they are on what came after."""
    training = Training(pipeline, out, version, SEED)
    training.settle()
    console = Console()
    readings = read(data)
    write_slice(readings, slice_to)
    source = {"elec2.parquet": digest((data / "electricity" / "elec2.parquet").read_bytes())}
    with Progress(TextColumn("{task.description:>8}"), BarColumn(), TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("features", total=1)
        fit, stop, weigh, later = split(readings)
        progress.advance(task)
        task = progress.add_task("nets", total=_EPOCHS)
        weights = fit_nets(fit, stop, partial(progress.advance, task))
        kwargs = {"width": len(pipeline.vector.places(_MEMBERS["nets"].inputs))}
        factory = f"{Nets.__module__}:{Nets.__qualname__}"
        training.publish("nets", weights, framework="torch", factory=factory, kwargs=kwargs, data=source)
        task = progress.add_task("trees", total=1)
        training.publish("trees", fit_trees(fit, stop), framework="xgboost", data=source)
        progress.advance(task)
        task = progress.add_task("online", total=1)
        training.publish("online", fit_online(fit, stop), framework="river", data=source)
        progress.advance(task)
    # The label of this half hour, for the next one: what a model must beat.
    known = np.concatenate([weigh.truth[-1:], later.truth[:-1]])
    found = training.conclude(
        weigh,
        later,
        trees_without_windows=without_windows(fit, stop, later),
        as_before={"accuracy": round(float(np.mean(known == later.truth)), 5)},
    )
    console.print_json(data=found)


if __name__ == "__main__":
    typer.run(main)
