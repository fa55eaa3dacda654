"""Event-driven streaming inference with an end-to-end latency objective.

This is all that a pipeline's author names. Names are loaded when they are first used, so that the
command line stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guidevane.combiners import Stacking, Vote, WeightedMean
    from guidevane.decision import Isotonic, Platt, Threshold
    from guidevane.ensemble import Ensemble, Member
    from guidevane.errors import GuidevaneError, Misconfigured, Reject, Retryable
    from guidevane.event import Event
    from guidevane.features import (
        Clip,
        Embed,
        FeatureSet,
        Fill,
        Log1p,
        Numeric,
        OneHot,
        Standardise,
        WindowCount,
        WindowDistinct,
        WindowMean,
    )
    from guidevane.monitors.concept import ConceptDrift
    from guidevane.monitors.drift import Drift
    from guidevane.monitors.fairness import DemographicParity
    from guidevane.monitors.quality import Quality
    from guidevane.pipeline import Pipeline
    from guidevane.reading import FirstOutcomes, read_effective
    from guidevane.slo import Degrade, Latency

_HOMES = {
    "guidevane.decision": ("Isotonic", "Platt", "Threshold"),
    "guidevane.combiners": ("Stacking", "Vote", "WeightedMean"),
    "guidevane.ensemble": ("Ensemble", "Member"),
    "guidevane.errors": ("GuidevaneError", "Misconfigured", "Reject", "Retryable"),
    "guidevane.event": ("Event",),
    "guidevane.features": (
        "Clip",
        "Embed",
        "FeatureSet",
        "Fill",
        "Log1p",
        "Numeric",
        "OneHot",
        "Standardise",
        "WindowCount",
        "WindowDistinct",
        "WindowMean",
    ),
    "guidevane.monitors.concept": ("ConceptDrift",),
    "guidevane.monitors.drift": ("Drift",),
    "guidevane.monitors.fairness": ("DemographicParity",),
    "guidevane.monitors.quality": ("Quality",),
    "guidevane.pipeline": ("Pipeline",),
    "guidevane.reading": ("FirstOutcomes", "read_effective"),
    "guidevane.slo": ("Degrade", "Latency"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "Clip",
    "ConceptDrift",
    "Degrade",
    "DemographicParity",
    "Drift",
    "Embed",
    "Ensemble",
    "Event",
    "FeatureSet",
    "Fill",
    "FirstOutcomes",
    "GuidevaneError",
    "Isotonic",
    "Latency",
    "Log1p",
    "Member",
    "Misconfigured",
    "Numeric",
    "OneHot",
    "Pipeline",
    "Platt",
    "Quality",
    "Reject",
    "Retryable",
    "Stacking",
    "Standardise",
    "Threshold",
    "Vote",
    "WeightedMean",
    "WindowCount",
    "WindowDistinct",
    "WindowMean",
    "read_effective",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'guidevane' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
