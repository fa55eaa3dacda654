"""Will electricity be dear in the next half hour? The market of New South Wales, reading by reading; see the README."""

from pathlib import Path

from guidevane import (
    ConceptDrift,
    Drift,
    Ensemble,
    Event,
    Latency,
    Member,
    OneHot,
    Pipeline,
    Quality,
    Stacking,
    Standardise,
    Threshold,
    WindowCount,
    WindowDistinct,
    WindowMean,
)
from guidevane.pipelines.electricity.features import Above

_HERE = Path(__file__).parent
_HALF_HOUR, _DAY, _WEEK = 1800.0, 86_400.0, 604_800.0
# The market's own time: a replay may run a thousand times faster than the market did.
_AT = "half_hour_us"
# Victoria had one price, one demand and no transfer for most of the time that is learned from: only the trees, which
# do not extrapolate, are told of it.
_AT_HOME = (
    "dear.fine",
    "dear.coarse",
    "price.rising",
    "two_hours.dear",
    "day.dear",
    "demand.high",
    "period.onehot",
    "demand.standardised",
)

pipeline = Pipeline(
    name="electricity",
    event=Event(
        "electricity.reading.v1",
        schema=_HERE / "schema.avsc",
        key="market",
        id="event_id",
        time="observed_at_us",
        ranges={"period": (0, 47)},
    ),
    features=[
        WindowCount(_DAY, _HALF_HOUR, at=_AT, name="day.readings"),
        WindowMean("price", 2 * 3600.0, _HALF_HOUR, at=_AT, name="price.two_hours"),
        WindowMean("price", _DAY, _HALF_HOUR, at=_AT, name="price.day"),
        WindowMean("price", _WEEK, 3600.0, at=_AT, name="price.week"),
        WindowMean("demand", _DAY, _HALF_HOUR, at=_AT, name="demand.day"),
        WindowDistinct("vic_price", _DAY, at=_AT, at_most=48, name="vic_price.values"),
        # Near the mean the least difference counts, far from it none: one and the same, finely and coarsely.
        *(Above("price", "price.day", most, name) for name, most in (("dear.fine", 0.004), ("dear.coarse", 0.04))),
        Above("price", "price.two_hours", 0.02, "price.rising"),
        Above("price.two_hours", "price.day", 0.03, "two_hours.dear"),
        Above("price.day", "price.week", 0.03, "day.dear"),
        Above("demand", "demand.day", 0.3, "demand.high"),
        OneHot("period", range(48)),
        Standardise("demand", mean=0.4224, std=0.1642),
        Standardise("vic_demand", mean=0.4292, std=0.0721),
        Standardise("transfer", mean=0.4461, std=0.0926),
        Standardise("day.readings", mean=48.0, std=48.0),
        Standardise("vic_price.values", mean=24.0, std=24.0),
    ],
    ensemble=Ensemble(
        members=[
            Member("nets", model="models:/electricity-nets@champion", inputs=_AT_HOME),
            Member("trees", model="models:/electricity-trees@champion"),
            Member("online", model="models:/electricity-online@champion", inputs=_AT_HOME),
        ],
        combine=Stacking(weights={"nets": 0.2609, "trees": 0.6162, "online": 0.4054}, bias=0.1265),
        quorum=1,
    ),
    decision=Threshold(at=0.5, positive="up", negative="down"),
    slo=Latency(p=0.99, within_ms=250),
    monitors=[
        Quality(fields=("price", "demand", "vic_price", "vic_demand", "transfer")),
        Drift("score"),
        ConceptDrift(),
    ],
    models=_HERE / "models",
)
