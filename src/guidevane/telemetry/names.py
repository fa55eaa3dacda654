"""Every metric, declared once: code counts under these names only, and ``docs/metrics.md`` is made from them.

Names follow Prometheus (base units, ``_total`` on counters). Every series also carries the
labels ``pipeline`` and ``room``. Published names only grow: none is renamed, none removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["counter", "gauge", "histogram"]
PREFIX: Final = "guidevane_"
EVERYWHERE: Final = ("pipeline", "room")
"""The labels that every series carries."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One declared metric. ``unit`` is in UCUM, as OpenTelemetry wants it: ``s``, ``By``, ``{event}``, ``1``."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str


_declared: dict[str, Metric] = {}
DECLARED: Final[Mapping[str, Metric]] = _declared
"""All metrics by name."""


def _metric(kind: Kind, name: str, unit: str, labels: str, says: str) -> str:
    full = PREFIX + name
    _declared[full] = Metric(full, kind, unit, tuple(labels.split()), says)
    return full


# What became of events.
EVENTS_TOTAL = _metric(
    "counter",
    "events_total",
    "{event}",
    "stage result",
    "Records that a stage finished; result: out, reject, skip (a duplicate, or answered before).",
)
DECISIONS_TOTAL = _metric(
    "counter", "decisions_total", "{decision}", "outcome", "Decisions by outcome: full, degraded, fallback, shed."
)
GROUP_DECISIONS_TOTAL = _metric(
    "counter",
    "group_decisions_total",
    "{decision}",
    "attribute value outcome",
    "Decisions by outcome in each group of a protected attribute: who is degraded and shed how often.",
)
SPARED_TOTAL = _metric(
    "counter",
    "spared_total",
    "{event}",
    "attribute value",
    "Events that were served before others, or late: so many of their group go without that no more may.",
)
DEAD_LETTERS_TOTAL = _metric("counter", "dead_letters_total", "{event}", "stage cause", "Dead letters by cause.")
DUPLICATES_TOTAL = _metric("counter", "duplicates_total", "{event}", "", "Events dropped at ingest: id seen before.")
SKIPPED_TOTAL = _metric(
    "counter", "skipped_total", "{event}", "stage", "Records skipped after a takeover: they were answered before it."
)
RETRIES_TOTAL = _metric("counter", "retries_total", "{retry}", "stage", "Batches tried again after Retryable.")
BISECTIONS_TOTAL = _metric(
    "counter", "bisections_total", "{bisection}", "", "Batches halved to find the event that breaks them."
)
FENCED_TOTAL = _metric("counter", "fenced_total", "{fence}", "", "Times that a worker fenced itself off.")
REBALANCES_TOTAL = _metric("counter", "rebalances_total", "{rebalance}", "", "Changes of the partitions owned.")

# How long it took.
STAGE_DURATION_SECONDS = _metric(
    "histogram",
    "stage_duration_seconds",
    "s",
    "stage",
    "From the record's timestamp on the input topic to the acknowledged output.",
)
HANDLE_DURATION_SECONDS = _metric(
    "histogram", "handle_duration_seconds", "s", "stage", "One batch inside the stage's handler."
)
AGE_SECONDS = _metric(
    "histogram",
    "age_seconds",
    "s",
    "stage",
    "From event time to the stage's acknowledged output; of postprocess, what the SLO is about.",
)
LATE_TOTAL = _metric("counter", "late_total", "{event}", "", "Decisions acknowledged after the event's deadline.")
COMMIT_DURATION_SECONDS = _metric("histogram", "commit_duration_seconds", "s", "", "One commit of offsets.")
RECOVERY_DURATION_SECONDS = _metric(
    "histogram", "recovery_duration_seconds", "s", "stage", "Reading own outputs when partitions are taken over."
)
BATCH_SIZE = _metric("histogram", "batch_size", "{record}", "stage", "Records handled in one batch.")

# What a profile is learned from: latency against batch size, and the way between. A station is a stage or a member, as
# in the controller's graph. A stage's service is its handler's, a member's what its replica computed.
SERVED_BATCHES_TOTAL = _metric(
    "counter",
    "served_batches_total",
    "{batch}",
    "station size",
    "Batches that a stage or a member served, by size: the smallest power of two that is not below it.",
)
SERVED_RECORDS_TOTAL = _metric(
    "counter", "served_records_total", "{record}", "station size", "Records in those batches."
)
SERVED_SECONDS_TOTAL = _metric(
    "counter", "served_seconds_total", "s", "station size", "Time that those batches took, waiting apart."
)
HOP_DURATION_SECONDS = _metric(
    "histogram",
    "hop_duration_seconds",
    "s",
    "station",
    "On the way: for a stage from the record's append, or the stage before, to its handler; "
    "for a member what a call took beyond computing.",
)
ACKNOWLEDGE_DURATION_SECONDS = _metric(
    "histogram",
    "acknowledge_duration_seconds",
    "s",
    "stage",
    "From a batch's last answers to their acknowledgement by the log.",
)

LOOP_BUSY_SECONDS_TOTAL = _metric(
    "counter",
    "loop_busy_seconds_total",
    "s",
    "",
    "CPU time of the thread that the room's loop runs on: a second in each second is all that a process can do.",
)

# What is under way.
IN_FLIGHT_RECORDS = _metric("gauge", "in_flight_records", "{record}", "", "Records fetched and not yet committed.")
IN_FLIGHT_BYTES = _metric("gauge", "in_flight_bytes", "By", "", "Bytes fetched and not yet committed.")
PAUSED = _metric("gauge", "paused", "1", "reason", "1 while fetching is paused for this reason, else 0.")
CONSUMER_LAG_RECORDS = _metric(
    "gauge", "consumer_lag_records", "{record}", "topic", "Records of the owned partitions that are not yet fetched."
)
OWNED_PARTITIONS = _metric("gauge", "owned_partitions", "{partition}", "topic", "Partitions that this process owns.")
HELD_PARTITIONS = _metric(
    "gauge",
    "held_partitions",
    "{partition}",
    "topic",
    "Owned partitions that a producer's open transaction has held at one offset for half a minute or longer.",
)
FETCH_WAIT_SECONDS = _metric("gauge", "fetch_wait_seconds", "s", "", "How long a fetch waits for company, as set now.")
DEAD_LETTER_SHARE = _metric(
    "gauge", "dead_letter_share", "1", "", "Of the last events, the share that died, when the room stopped for it."
)
STOPPED = _metric("gauge", "stopped", "1", "reason", "1 where the room has given up and a person must mend something.")
MAX_BATCH = _metric("gauge", "max_batch", "{record}", "", "The largest batch allowed, as set now.")
DEGRADE_LEVEL = _metric("gauge", "degrade_level", "1", "", "How far inference degrades, as set now; 0 is not at all.")
CONTROL_EPOCH = _metric("gauge", "control_epoch", "1", "", "The epoch of the control event obeyed last.")

# The ensemble.
MEMBER_DURATION_SECONDS = _metric(
    "histogram", "member_duration_seconds", "s", "member", "One call of a member, seen by the room that calls."
)
MEMBER_BUSY_SECONDS_TOTAL = _metric(
    "counter", "member_busy_seconds_total", "s", "member", "Time that replicas spent computing, as they report it."
)
MEMBER_ROWS_TOTAL = _metric("counter", "member_rows_total", "{row}", "member version", "Rows scored.")
MEMBER_CALLS_TOTAL = _metric("counter", "member_calls_total", "{call}", "member", "Calls made.")
MEMBER_FAILURES_TOTAL = _metric(
    "counter", "member_failures_total", "{call}", "member cause", "Calls without an answer: late, failed, skipped, ..."
)
MEMBER_IN_FLIGHT_ROWS = _metric(
    "gauge", "member_in_flight_rows", "{row}", "member", "Rows that a member was asked for and has not answered."
)
REPLICAS = _metric("gauge", "replicas", "{replica}", "member", "Replicas wanted for a member.")

# Monitors, controller, the platform itself.
ALERTS_TOTAL = _metric("counter", "alerts_total", "{alert}", "kind", "Alerts raised by the monitors.")
OUTCOMES_TOTAL = _metric("counter", "outcomes_total", "{outcome}", "", "Decisions joined with their label.")
CONTROLLER_ACTIONS_TOTAL = _metric(
    "counter", "controller_actions_total", "{action}", "action", "What the controller decided: set, scale, staff, hold."
)
CONTROLLER_FAILURES_TOTAL = _metric(
    "counter", "controller_failures_total", "{action}", "action", "Actions of the controller that did not succeed."
)
ARRIVALS_PER_SECOND = _metric(
    "gauge", "arrivals_per_second", "{event}/s", "", "How many events come, as the controller sees it."
)
READY_FOR_PER_SECOND = _metric(
    "gauge",
    "ready_for_per_second",
    "{event}/s",
    "",
    "How many events the controller's plan is ready for: its forecast.",
)
PREDICTED_MISS = _metric(
    "gauge", "predicted_miss", "1", "", "The share of events that would miss the objective in that plan, as simulated."
)
COST_USD_PER_HOUR = _metric(
    "gauge",
    "cost_usd_per_hour",
    "{USD}/h",
    "part",
    "What each member's replicas, billed from launch, and each room's processes (room <name>) cost now.",
)
COST_USD_PER_THOUSAND_DECISIONS = _metric(
    "gauge", "cost_usd_per_thousand_decisions", "{USD}", "", "This month's cost of a thousand decisions."
)
COST_MONTH_USD = _metric(
    "gauge",
    "cost_month_usd",
    "{USD}",
    "of",
    "This month's bill (UTC): spent so far, and the whole of it at the month's end, p50 and p90.",
)
TELEMETRY_FAILURES_TOTAL = _metric(
    "counter", "telemetry_failures_total", "{event}", "", "Telemetry events that could not be written."
)
BUILD_INFO = _metric("gauge", "build_info", "1", "version", "Always 1; the version that runs.")


def render() -> str:
    """Return ``docs/metrics.md``.

    >>> "guidevane_events_total" in render()
    True
    """
    lines = [
        "# Metrics",
        "",
        "Made from `guidevane.telemetry.names`: `python -m guidevane.telemetry.names > docs/metrics.md`; a test holds",
        "it current. Every room serves them on `127.0.0.1:<port>/metrics`, next to `/livez` and `/readyz`; every",
        "series also carries `pipeline` and `room`. All histograms have the same buckets: 10 µs to 10,000 s, or",
        "10,000 records, eight to the decade.",
        "",
        "Once a second each room also writes them to `guidevane.telemetry` (contract `telemetry`): what was added in",
        "the interval. There, and only there, stands `arrivals`: the events that a stage which reads a topic answered,",
        "by half second of event time (`guidevane.telemetry.arrivals`), and `arrivals_by_tenth`, which tells whether",
        "they come in heaps. `served_*` with the same `station` and `size` give a point of its profile: `seconds /",
        "batches` at a batch of `records / batches`.",
        "",
        "| name | kind | unit | labels | what it says |",
        "|---|---|---|---|---|",
    ]
    for each in sorted(DECLARED.values(), key=lambda metric: metric.name):
        labels = ", ".join(f"`{label}`" for label in each.labels) or "-"
        lines.append(f"| `{each.name}` | {each.kind} | `{each.unit}` | {labels} | {each.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - made to be redirected into the page
