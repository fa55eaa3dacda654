"""Who is employed? Records of the American Community Survey, one person at a time; see the README."""

from pathlib import Path

from guidevane import (
    Clip,
    ConceptDrift,
    DemographicParity,
    Drift,
    Embed,
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
)

_HERE = Path(__file__).parent
_CODES = {
    "schooling": range(25),
    "marital": range(1, 6),
    "relationship": range(18),
    "disability": (1, 2),
    "employment_parents": range(9),
    "citizenship": range(1, 6),
    "mobility": range(4),
    "military": range(5),
    "ancestry": range(1, 5),
    "nativity": (1, 2),
    "deaf": (1, 2),
    "blind": (1, 2),
    "cognitive": range(3),
}
_LONG = ("schooling", "relationship")
_INDEXED = ("age.index", *(f"{field}.index" for field in _CODES))

pipeline = Pipeline(
    name="employment",
    event=Event(
        "employment.record.v1",
        schema=_HERE / "schema.avsc",
        key="person_id",
        id="event_id",
        time="observed_at_us",
        protected=("sex", "race"),
        pii=("person_id",),
    ),
    features=[
        Clip("age", low=0, high=90),
        Standardise("age", mean=41.42, std=23.30),
        Embed("age", range(91)),
        *(Embed(field, codes) for field, codes in _CODES.items()),
        *(OneHot(field, codes) for field, codes in _CODES.items() if field not in _LONG),
    ],
    ensemble=Ensemble(
        members=[
            Member(
                "wide",
                model="models:/employment-wide@champion",
                inputs=(
                    "age.index",
                    *(f"{field}.index" for field in _LONG),
                    "age.standardised",
                    *(f"{field}.onehot" for field in _CODES if field not in _LONG),
                ),
                beside="deep",
            ),
            Member("deep", model="models:/employment-deep@champion", inputs=_INDEXED),
            Member("trees", model="models:/employment-trees@champion", inputs=_INDEXED, beside="deep"),
        ],
        combine=Stacking(weights={"wide": 0.2481, "deep": 0.1359, "trees": 0.6092}, bias=0.0061),
        quorum=1,
    ),
    decision=Threshold(at=0.5, positive="employed", negative="not_employed"),
    slo=Latency(p=0.99, within_ms=250),
    monitors=[
        Quality(fields=("age", *_CODES)),
        Drift("score"),
        ConceptDrift(),
        DemographicParity(by=("sex", "race"), max_gap=0.2),
    ],
    models=_HERE / "models",
)
