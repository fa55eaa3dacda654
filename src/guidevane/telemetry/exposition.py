"""The numbers, shown to Prometheus through OpenTelemetry; pushed over OTLP where an endpoint is set.

Counters and gauges are OpenTelemetry's observable instruments, which read our numbers when asked.
Its histograms can only be given one value at a time, at 12 µs each (SDK 1.45, two shared cores),
against 10 µs for a whole batch here. So those are ours, and we write their lines: the Prometheus
client takes 24 ms of a fused room's loop to write 1,400 of them, this takes 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from guidevane.telemetry.histogram import BOUNDS
from guidevane.telemetry.names import DECLARED, EVERYWHERE, Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.sdk.metrics.export import MetricReader

    from guidevane.telemetry.metrics import Metrics, Seen, Series

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_LE: Final = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]


def resource_of(pipeline: str, room: str, instance: str) -> Resource:
    """Return what OpenTelemetry is told about this process."""
    return Resource.create(
        {"service.namespace": pipeline, "service.name": f"guidevane.{room}", "service.instance.id": instance}
    )


class Exposition:
    """One process's numbers as Prometheus reads them.

    >>> from guidevane.telemetry import names
    >>> from guidevane.telemetry.metrics import Metrics
    >>> metrics = Metrics("employment", "ingest", "0")
    >>> metrics.count(names.RETRIES_TOTAL, 2, stage="ingest")
    >>> [line for line in Exposition(metrics).scrape().decode().splitlines() if line.startswith("guidevane")]
    ['guidevane_retries_total{pipeline="employment",room="ingest",stage="ingest"} 2.0']
    """

    def __init__(self, metrics: Metrics, environ: Mapping[str, str] | None = None) -> None:
        self._metrics = metrics
        self._everywhere = dict(zip(EVERYWHERE, (metrics.pipeline, metrics.room), strict=True))
        self._registry = CollectorRegistry()
        readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)]
        if (environ or {}).get(ENDPOINT):
            readers.append(_push())
        self._provider = MeterProvider(
            metric_readers=readers,
            resource=resource_of(metrics.pipeline, metrics.room, metrics.instance),
            shutdown_on_exit=False,
        )
        meter = self._provider.get_meter("guidevane")
        for each in DECLARED.values():
            if each.kind == "counter":
                meter.create_observable_counter(each.name, [self._reading(each)], each.unit, each.help)
            elif each.kind == "gauge":
                meter.create_observable_gauge(each.name, [self._reading(each)], each.unit, each.help)

    def scrape(self) -> bytes:
        """Return all series in Prometheus' text format (``CONTENT_TYPE``)."""
        histograms = _histograms(self._metrics.snapshot().histograms, tuple(self._everywhere.items()))
        return generate_latest(self._registry) + histograms.encode()

    def close(self) -> None:
        """Push what is left, where there is somewhere to push it; stop."""
        self._provider.shutdown()

    def _reading(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            standing = self._metrics.standing(metric.name)
            return [Observation(value, {**self._everywhere, **dict(series.labels)}) for series, value in standing]

        return read


def _histograms(seen: Mapping[Series, Seen], everywhere: tuple[tuple[str, str], ...]) -> str:
    """Return all histograms in Prometheus' text format, each with the buckets that all have."""
    lines: list[str] = []
    told = ""
    for series, each in sorted(seen.items()):
        if series.name != told:
            told = series.name
            lines += (f"# HELP {told} {DECLARED[told].help}", f"# TYPE {told} histogram")
        labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in (*everywhere, *series.labels))
        heights = each.buckets.cumsum().tolist()
        lines += (f'{told}_bucket{{{labels},le="{le}"}} {n}' for le, n in zip(_LE, heights, strict=True))
        lines += (f"{told}_count{{{labels}}} {heights[-1]}", f"{told}_sum{{{labels}}} {each.sum!r}")
    return "\n".join([*lines, ""])


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _push() -> MetricReader:
    # Imported only where it is used: the exporter costs a third of a second at start.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415

    return PeriodicExportingMetricReader(OTLPMetricExporter())
