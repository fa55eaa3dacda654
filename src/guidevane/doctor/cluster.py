"""Kafka: does it answer, are the topics there and set as they must be, what time is it there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from guidevane.doctor.check import Finding, fail, ok, skip, warn
from guidevane.doctor.replicas import judged
from guidevane.errors import Misconfigured, Retryable
from guidevane.log.kafka import Connection
from guidevane.log.kafka.survey import INTERNAL, Survey, clock_offset_s, survey
from guidevane.topics import CONTROL, Topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guidevane.doctor.where import Where

_NOBODY = "nothing runs under the state folder, and KAFKA_BOOTSTRAP_SERVERS names nobody"
_OLDEST = (3, 7)
_ANSWER_WITHIN_S = 3.0
# Beyond this, deadlines (event time + objective) are wrong by a good part of a usual objective.
_OFFSET_S = 0.1
_FAR_S = 5.0
# A room that is being replaced, or a broker that is, may be away for so long.
_BRIEF_MS = 3600 * 1000
# What promises rest on; retention may be longer than we would set it, or for ever.
_MUST = ("cleanup.policy", "message.timestamp.type")


def _connection(where: Where) -> Connection:
    # A broker that hangs takes connections and answers nothing: the next address must have its turn within the check.
    return replace(Connection.told(where.environ, bootstrap=where.kafka), request_timeout_s=_ANSWER_WITHIN_S)


async def broker(where: Where) -> Finding:
    """A broker that answers, and which release it is at least."""
    if where.kafka is None:
        return skip(_NOBODY)
    try:
        found = await survey(_connection(where))
    except (Misconfigured, Retryable) as away:
        why = "every event travels through Kafka: without it nothing is accepted or decided, and nothing is lost"
        mend = "start it (`guidevane up`), or set KAFKA_BOOTSTRAP_SERVERS (and KAFKA_SECURITY_PROTOCOL, ...) right"
        return fail(str(away), why, mend)
    count = len(found.brokers)
    says = f"{count} broker{'s' if count != 1 else ''} at {where.kafka}"
    if not found.release:
        return ok(f"{says}, release not known")
    if tuple(map(int, found.release.split("."))) < _OLDEST:
        why = "the tests run with Kafka 4; older brokers fence and rebalance otherwise"
        return warn(f"{says}, Kafka {found.release} or a little newer", why, "upgrade the brokers to Kafka 3.9 or 4")
    return ok(f"{says}, Kafka {found.release} or newer")


async def topics(where: Where) -> Finding:
    """A pipeline's topics: all there, with equally many partitions along the way, set as promises need it."""
    found = await _surveyed(where)
    if isinstance(found, Finding):
        return found
    pipelines = _pipelines(where, found)
    wrong = [line for name in pipelines for line in _wrong(Topics(name), found)]
    if wrong:
        why = (
            "partition p of each topic answers partition p of the one before it; decisions are stamped by the broker; "
            "and the control topic must keep the last word, or rooms start with old settings"
        )
        mend = "kafka-configs.sh --alter --entity-type topics ... for settings; recreate a topic for its partitions"
        return fail("; ".join(wrong), why, mend)
    short = [line for name in pipelines for line in _brief(Topics(name), found)]
    if short:
        why = "what a room has not answered by then is deleted unanswered, and what has been audited cannot be proven"
        mend = "kafka-configs.sh --alter --entity-type topics --add-config retention.ms=604800000 (audit: -1) ..."
        return warn("; ".join(short), why, mend)
    count = {name: found.topics[Topics(name).events].partitions for name in pipelines}
    return ok(", ".join(f"{name}: {number} partitions each" for name, number in count.items()))


async def replicas(where: Where) -> Finding:
    """Whether each partition of a pipeline's topics, and of Kafka's own, can be read and written; and for how long."""
    found = await _surveyed(where)
    if isinstance(found, Finding):
        return found
    named = [spec.name for name in _pipelines(where, found) for spec in Topics(name).specs()]
    return judged({name: found.topics[name] for name in (*named, *INTERNAL) if name in found.topics}, found.brokers)


async def clock(where: Where) -> Finding:
    """The broker's clock against ours."""
    if where.kafka is None:
        return skip(_NOBODY)
    try:
        connection = _connection(where)
    except Misconfigured:
        return skip("no broker answers")
    try:
        offset_s, error_s = await clock_offset_s(connection)
    except Retryable:
        return skip("no broker answers")
    except Misconfigured as refused:
        return skip(f"the broker stamps no record for us: {refused}")
    says = (
        f"the broker's is {abs(offset_s) * 1e3:.0f} ms {'ahead' if offset_s >= 0 else 'behind'} (± {error_s * 1e3:.0f})"
    )
    why = "latency runs from event time to the broker's stamp; deadlines are event time plus the objective"
    mend = "run chrony or systemd-timesyncd on both: `chronyc tracking` tells"
    beyond_s = max(0.0, abs(offset_s) - error_s)
    if beyond_s > _FAR_S:
        return fail(says, why, mend)
    return warn(says, why, mend) if beyond_s > _OFFSET_S else ok(says)


async def _surveyed(where: Where) -> Survey | Finding:
    """Return a cluster that has a pipeline's topics, or why there is nothing to look at."""
    if where.kafka is None:
        return skip(_NOBODY)
    try:
        found = await survey(_connection(where))
    except (Misconfigured, Retryable):
        return skip("no broker answers")
    if not _pipelines(where, found):
        return skip("no pipeline has topics here yet; its rooms create them when they start")
    return found


def _pipelines(where: Where, found: Survey) -> list[str]:
    if where.pipeline is not None:
        return [where.pipeline]
    named = (topic.removesuffix(".events") for topic in found.topics if topic.endswith(".events"))
    return sorted(name for name in named if {Topics(name).decisions, Topics(name).dlq} & found.topics.keys())


def _brief(topics_: Topics, found: Survey) -> Iterator[str]:
    """Tell which topics forget so soon that a room which is away for a while finds events gone."""
    for spec in topics_.specs():
        state = found.topics.get(spec.name)
        kept = state.settings.get("retention.ms") if state is not None else None
        wanted = spec.settings.get("retention.ms")
        if kept is None or wanted is None or kept == "-1":
            continue
        if wanted == "-1" or int(kept) < _BRIEF_MS:
            yield f"{spec.name} has retention.ms={kept}"


def _wrong(topics_: Topics, found: Survey) -> Iterator[str]:
    """Tell what is wrong with a pipeline's topics."""
    there = found.topics.get(topics_.events)
    for spec in topics_.specs(there.partitions if there is not None else 1):
        state = found.topics.get(spec.name)
        if state is None:
            # Versions before redrives have no journal; the command makes it.
            if spec.name != topics_.redrives:
                yield f"{spec.name} is missing"
            continue
        if state.partitions != spec.partitions:
            yield f"{spec.name} has {state.partitions} partitions, not {spec.partitions}"
        for name in _MUST:
            wanted, have = spec.settings.get(name), state.settings.get(name)
            if wanted is not None and have is not None and wanted not in have.split(","):
                yield f"{spec.name} has {name}={have}, not {wanted}"
        if spec.name not in {CONTROL, topics_.redrives} and "compact" in state.settings.get("cleanup.policy", ""):
            yield f"{spec.name} is compacted: events of one key would replace each other"
