"""The routes: thin, each asks the room and words the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import FastAPI, Path, Query, Response
from fastapi.responses import HTMLResponse

from guidevane.access import Guard
from guidevane.errors import Misconfigured, Retryable
from guidevane.problem import RESPONSES, Refused, speak_problems
from guidevane.services.admin.page import moment, page
from guidevane.services.admin.views import (
    Alert,
    AuditLog,
    AuditRow,
    Contract,
    Controller,
    DeadLetter,
    DecisionRecord,
    Order,
    PipelineBrief,
    PipelineState,
    SchemaVersion,
    Seen,
    Steering,
)
from guidevane.word import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guidevane.schema import Schema
    from guidevane.services.admin.service import AdminRoom
    from guidevane.services.admin.state import Watch

ACTIONS_SHOWN = 20
PipelineName = Annotated[str, Path(description="The pipeline's name.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most this many, newest first.")]


def admin_app(room: AdminRoom, *, token: str | None = None) -> FastAPI:
    """Return the app. Without a ``token`` it serves this machine only."""
    app = FastAPI(
        title="Guidevane admin",
        description="What runs, how well, what was decided and why; pause and resume. Errors are problems (RFC 9457).",
        responses=RESPONSES,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard, token=token, max_body_bytes=1 << 16)
    speak_problems(app)
    _health(app, room)
    _pipelines(app, room)
    _controller(app, room)
    _contracts(app, room)
    return app


def _health(app: FastAPI, room: AdminRoom) -> None:
    @app.get("/livez", tags=["health"], summary="Does the process answer?")
    async def livez() -> dict[str, str]:
        """Answer 200 as long as the process answers at all."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["health"], summary="Has the room read what was there?")
    async def readyz(response: Response) -> dict[str, Any]:
        """Answer 200 once everything on the topics at the start was read and the log answers, else 503."""
        seen = room.seen()
        response.status_code = 200 if seen.ready else 503
        return {"ready": seen.ready, "reasons": seen.reasons}

    @app.get("/healthz", tags=["health"], summary="How is the room?")
    async def healthz() -> Seen:
        """Tell of the room itself: what is still to be read, and what could not be."""
        return room.seen()

    @app.get("/", tags=["health"], summary="A page for people", response_class=HTMLResponse)
    async def front() -> HTMLResponse:
        """Show pipelines, rates, latency, alerts and what the controller did; reloads itself."""
        now_us = room.clock.now_us()
        watches = room.state.watches.values()
        states = [watch.state(now_us, await room.last_models(watch)) for watch in watches]
        alerts = [alert for watch in watches for alert in watch.alerts]
        return HTMLResponse(page(states, alerts, _steered(room), room.seen()))


def _pipelines(app: FastAPI, room: AdminRoom) -> None:
    @app.get("/v1/pipelines", tags=["pipelines"], summary="List the pipelines")
    async def pipelines() -> list[PipelineBrief]:
        """List every pipeline that this room watches."""
        now_us = room.clock.now_us()
        return [watch.brief(now_us) for watch in room.state.watches.values()]

    @app.get("/v1/pipelines/{pipeline}", tags=["pipelines"], summary="How a pipeline is doing")
    async def pipeline_state(pipeline: PipelineName) -> PipelineState:
        """Tell rates and latencies by stage, members with versions and replicas, rooms, and current settings."""
        watch = _watch(room, pipeline)
        return watch.state(room.clock.now_us(), await room.last_models(watch))

    @app.get("/v1/pipelines/{pipeline}/decisions", tags=["decisions"], summary="The last decisions")
    async def decisions(pipeline: PipelineName, *, limit: Limit = 50) -> list[DecisionRecord]:
        """List the decisions written last, newest first."""
        watch = _watch(room, pipeline)
        try:
            return await room.latest(watch, limit)
        except Retryable as broken:
            raise _later(broken) from broken

    @app.get("/v1/pipelines/{pipeline}/decisions/{identity}", tags=["decisions"], summary="One decision")
    async def decision(
        pipeline: PipelineName,
        identity: Annotated[str, Path(max_length=300, description="A decision's id, or its event's.")],
    ) -> DecisionRecord:
        """Look one decision up by its id or its event's, and read it back from the log.

        Only the last decisions are indexed; 404 says how far back that is.
        """
        watch = _watch(room, pipeline)
        try:
            found = await room.decision(watch, identity)
        except Retryable as broken:
            raise _later(broken) from broken
        if found is None:
            raise _not_indexed(watch, identity)
        return found

    @app.get("/v1/pipelines/{pipeline}/alerts", tags=["monitors"], summary="The last alerts")
    async def alerts(
        pipeline: PipelineName, *, limit: Limit = 50, kind: Annotated[str | None, Query(max_length=100)] = None
    ) -> list[Alert]:
        """List what the monitors said, newest first; `kind` is drift, fairness, ..."""
        return _newest((each for each in _watch(room, pipeline).alerts if kind in {None, each.kind}), limit)

    @app.get("/v1/pipelines/{pipeline}/dead-letters", tags=["dead letters"], summary="The last dead letters")
    async def dead_letters(
        pipeline: PipelineName,
        *,
        limit: Limit = 50,
        stage: Annotated[str | None, Query(max_length=100)] = None,
        cause: Annotated[str | None, Query(max_length=100)] = None,
    ) -> list[DeadLetter]:
        """List events that could not be decided, newest first, each with its reason."""
        letters = _watch(room, pipeline).dead_letters
        wanted = (each for each in letters if stage in {None, each.stage} and cause in {None, each.cause})
        return _newest(wanted, limit)


def _controller(app: FastAPI, room: AdminRoom) -> None:
    @app.get("/v1/controller", tags=["controller"], summary="What the controllers do, and why")
    async def controller() -> Controller:
        """Tell which pipelines are steered, and the last actions with their reasons."""
        return _steered(room)

    @app.post("/v1/controller/pause", tags=["controller"], summary="Pause the controller")
    async def pause(order: Order) -> list[Steering]:
        """Hold every setting as it is, until resumed. The audit row is written first."""
        return await _steer(room, order, paused=True)

    @app.post("/v1/controller/resume", tags=["controller"], summary="Resume the controller")
    async def resume(order: Order) -> list[Steering]:
        """Let the controller steer again. The audit row is written first."""
        return await _steer(room, order, paused=False)

    @app.get("/v1/audit", tags=["controller"], summary="Who changed what, and why")
    async def audit(*, limit: Limit = 50) -> AuditLog:
        """List the last rows of the audit log, and tell whether its hash chain holds."""
        rows, broken = room.state.audit, room.state.broken_at
        return AuditLog(whole=broken is None, broken_at=broken, rows=_newest(rows, limit))


def _contracts(app: FastAPI, room: AdminRoom) -> None:
    catalogue = room.codec.catalogue

    @app.get("/v1/schemas", tags=["schemas"], summary="List the contracts")
    async def schemas() -> list[Contract]:
        """List every contract that this room knows, with its versions and their ids."""
        return [
            Contract(name=name, versions=[_version(each) for each in catalogue.versions(name)])
            for name in catalogue.names()
        ]

    @app.get("/v1/schemas/{name}", tags=["schemas"], summary="One contract")
    async def schema(name: Annotated[str, Path(description="The contract's name.")]) -> Contract:
        """Return a contract's versions with their Avro schemas."""
        try:
            versions = catalogue.versions(name)
        except Misconfigured as absent:
            raise Refused(404, "unknown-schema", str(absent), known=catalogue.names()) from absent
        return Contract(name=name, versions=[_version(each, whole=True) for each in versions])


async def _steer(room: AdminRoom, order: Order, *, paused: bool) -> list[Steering]:
    every = list(room.state.watches.values())
    watches = every if order.pipeline is None else [_watch(room, order.pipeline)]
    try:
        await room.steer(watches, order, paused=paused)
    except Retryable as broken:
        raise _later(broken) from broken
    now_us = room.clock.now_us()
    return [watch.steering(now_us) for watch in watches]


def _steered(room: AdminRoom) -> Controller:
    now_us = room.clock.now_us()
    return Controller(
        pipelines=[watch.steering(now_us) for watch in room.state.watches.values()],
        actions=cast("list[AuditRow]", _newest(room.state.audit, ACTIONS_SHOWN)),
    )


def _watch(room: AdminRoom, pipeline: str) -> Watch:
    found = room.state.watches.get(pipeline)
    if found is None:
        known = sorted(room.state.watches)
        advice = nearest(pipeline, known)
        raise Refused(404, "unknown-pipeline", f"there is no pipeline {pipeline[:60]!r}: {advice}", known=known)
    return found


def _not_indexed(watch: Watch, identity: str) -> Refused:
    index, back_us = watch.index, watch.index.reaches_back_to_us
    if back_us is None:
        detail = f"{index.topic} holds no decision yet"
    else:
        last = f"the last {len(index)} decisions, the oldest of {moment(back_us)}"
        detail = f"{identity[:60]!r} is not among {last}"
    return Refused(404, "unknown-decision", detail, indexed=len(index), reaches_back_to_us=back_us)


def _later(broken: Retryable) -> Refused:
    return Refused(503, "log-unavailable", str(broken), headers={"Retry-After": "1"})


def _newest(items: Iterable[Any], limit: int) -> list[Any]:
    return list(items)[-limit:][::-1]


def _version(schema: Schema, *, whole: bool = False) -> SchemaVersion:
    avro = {key: value for key, value in schema.parsed.items() if not key.startswith("__")} if whole else None
    return SchemaVersion(version=schema.version, id=schema.id, guid=str(schema.guid), avro=avro)
