"""Train the members again: ``python -m guidevane.pipelines.employment.train --data DIR --out DIR``.

2015 is learned from, in three parts: four fifths to fit, a tenth to know when to stop, a tenth to weigh the
members against each other. 2016 to 2018 is only looked at to be measured. One thread and one seed: on one machine type
the same data give the same bytes.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import safetensors.torch
import torch
import typer
import xgboost
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from guidevane import Embed
from guidevane.pipelines.employment import pipeline
from guidevane.pipelines.employment.data import SLICE, Records, read, write_slice
from guidevane.pipelines.employment.members import Deep, Wide
from guidevane.pipelines.training import Part, Training
from guidevane.registry.manifest import digest

if TYPE_CHECKING:
    from collections.abc import Callable


SEED = 20151231
TRAINED_ON = 2015
_EPOCHS, _BATCH, _RATE = 10, 256, 4e-3
_MEMBERS = {member.name: member for member in pipeline.ensemble.members}


def encode(records: Records) -> Part:
    """Compute the pipeline's own features: one implementation for training and serving."""
    columns = {name: column.astype(np.float64) for name, column in records.columns.items()}
    return Part(pipeline, pipeline.vector.matrix(columns), records.employed)


def split(records: Records) -> tuple[Part, Part, Part]:
    """Return 2015 in three parts, drawn at random: to fit, to know when to stop, to weigh the members."""
    year = records.take(records.columns["year"] == TRAINED_ON)
    order = np.random.default_rng(SEED).permutation(len(year))
    ends = [0, len(year) * 8 // 10, len(year) * 9 // 10, len(year)]
    fit, stop, weigh = (encode(year.take(order[start:end])) for start, end in pairwise(ends))
    return fit, stop, weigh


def fit_network(member: str, network: Wide | Deep, fit: Part, stop: Part, tick: Callable[[], None]) -> bytes:
    """Fit a network; return the weights of the epoch that the stopping part liked best, as safetensors."""
    rows, truth = torch.from_numpy(fit.of(member)), torch.from_numpy(fit.truth).float()
    held, held_truth = torch.from_numpy(stop.of(member)), torch.from_numpy(stop.truth).float()
    steps = -(-len(rows) // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_EPOCHS * steps, pct_start=0.1)
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
            logits = torch.cat([network(held[start : start + 1024]) for start in range(0, len(held), 1024)])
        if (lost := float(loss(logits, held_truth))) < best:
            best, weights = lost, safetensors.torch.save(network.state_dict())
        tick()
    return weights


def fit_trees(member: str, fit: Part, stop: Part) -> bytes:
    """Fit boosted trees until the stopping part gains nothing; return them as UBJSON."""
    booster = xgboost.train(
        {
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "tree_method": "hist",
            "eta": 0.1,
            "max_depth": 5,
            "min_child_weight": 5,
            "subsample": 0.8,
            "colsample_bytree": 0.6,
            "nthread": 1,
            "seed": SEED,
        },
        xgboost.DMatrix(fit.of(member), fit.truth),
        num_boost_round=400,
        evals=[(xgboost.DMatrix(stop.of(member), stop.truth), "stop")],
        early_stopping_rounds=20,
        verbose_eval=False,
    )
    return bytes(booster[: booster.best_iteration + 1].save_raw("ubj"))


def shapes() -> dict[str, tuple[type[Wide | Deep], dict[str, Any]]]:
    """Return each network and its arguments, which follow from the features it reads."""
    vector = pipeline.vector
    sizes = {encoder.name: encoder.cardinality for encoder in vector.encoders if isinstance(encoder, Embed)}
    tables = {name: [sizes[each] for each in member.inputs or () if each in sizes] for name, member in _MEMBERS.items()}
    dense = len(vector.places(_MEMBERS["wide"].inputs)) - len(tables["wide"])
    return {
        "wide": (Wide, {"cardinalities": tables["wide"], "dense": dense}),
        "deep": (Deep, {"cardinalities": tables["deep"]}),
    }


def main(
    data: Annotated[Path, typer.Option(envvar="GUIDEVANE_DATA", help="Holds employment/{records,labels}.parquet.")],
    out: Annotated[Path, typer.Option(help="The model directory.")] = pipeline.models or Path("models"),
    version: Annotated[str, typer.Option(help="What the trained version is called.")] = "1",
    slice_to: Annotated[Path, typer.Option(help="Where the slice for the demo goes.")] = SLICE,
) -> None:
    """Train the members of the employment pipeline, and say how good they are on the years after."""
    training = Training(pipeline, out, version, SEED)
    training.settle()
    console = Console()
    records = read(data)
    write_slice(records, slice_to)
    fit, stop, weigh = split(records)
    later = encode(records.take(records.columns["year"] > TRAINED_ON))
    source = {name: digest((data / "employment" / name).read_bytes()) for name in ("records.parquet", "labels.parquet")}
    with Progress(TextColumn("{task.description:>6}"), BarColumn(), TimeElapsedColumn(), console=console) as progress:
        for name, (network, kwargs) in shapes().items():
            task = progress.add_task(name, total=_EPOCHS)
            torch.manual_seed(SEED)
            weights = fit_network(name, network(**kwargs), fit, stop, partial(progress.advance, task))
            factory = f"{network.__module__}:{network.__qualname__}"
            training.publish(name, weights, framework="torch", factory=factory, kwargs=kwargs, data=source)
        task = progress.add_task("trees", total=1)
        training.publish("trees", fit_trees("trees", fit, stop), framework="xgboost", data=source)
        progress.advance(task)
    found = training.conclude(weigh, later)
    console.print_json(data=found)


if __name__ == "__main__":
    typer.run(main)
