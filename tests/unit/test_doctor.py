"""The doctor on a bare machine, at wrong addresses, and with each answer that a cluster may give."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guidevane.cli import app
from guidevane.doctor import CHECKS, Check, Finding, Status, Where, cluster, contracts, examine, machine, serving
from guidevane.doctor import check as checks
from guidevane.local.endpoints import claim
from guidevane.local.ports import free_ports

GIB = 1 << 30
SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_PLAIN_USERNAME": "u", "KAFKA_SASL_PLAIN_PASSWORD": "p",
}  # fmt: skip


def look(function, **told) -> Finding:
    where = Where(state_dir=told.pop("state_dir", Path("nowhere")), **told)
    return asyncio.run(function(where))


@contextmanager
def dashboard(answers: dict[str, tuple[int, object]]) -> Iterator[str]:
    """Serve JSON by path, as Ray's dashboard and a room's probes do."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, {}))
            if self.headers.get("Authorization", "Bearer good") != "Bearer good":
                status, body = 401, {}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_on_a_bare_machine_every_check_answers_and_what_is_wrong_says_why_and_how_to_mend_it(tmp_path, monkeypatch):
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(app, ["doctor", "--json", "--state-dir", str(tmp_path)])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["check"] for row in rows] == [check.name for check in CHECKS]
    for row in rows:
        assert row["says"]
        assert (row["status"] in {"ok", "skip"}) or (row["why"] and row["mend"])
    assert {row["check"]: row["status"] for row in rows}["broker"] == "skip"
    assert done.exit_code == int(any(row["status"] == "fail" for row in rows))


def test_at_addresses_where_nobody_is_it_fails_and_exits_with_1(tmp_path, monkeypatch):
    kafka, ray = free_ports(2)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{kafka}")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{ray}")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{ray}")
    done = CliRunner().invoke(app, ["doctor", "--state-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "no Kafka at" in done.stdout
    assert "2 wrong" in done.stdout


def test_every_address_at_which_nobody_is_is_told():
    kafka = [f"127.0.0.1:{port}" for port in free_ports(2)]
    broker = look(cluster.broker, kafka=",".join(kafka))
    assert all(f"no Kafka at {address}: " in broker.says for address in kafka)


def test_a_ray_where_nobody_listens_is_a_failure_also_where_no_dashboard_is_named():
    (port,) = free_ports(1)
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "nonsense"):
        found = look(serving.ray, ray=address)
        assert (found.status, found.says) == (Status.FAIL, f"nobody listens at {address}")
    assert look(serving.ray, ray="auto").status is Status.WARN
    assert look(serving.ray, ray="auto", ray_dashboard="nonsense").status is Status.FAIL


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SLS"}, "KAFKA_SECURITY_PROTOCOL is 'SASL_SLS' → write 'SASL_SSL'"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "set KAFKA_SASL_PLAIN_USERNAME"),
        ({"KAFKA_SASL_PLAIN_USERNAME": "u"}, "KAFKA_SECURITY_PROTOCOL is PLAINTEXT → write SASL_PLAINTEXT or SASL_SSL"),
        ({"KAFKA_SSL_CAFILE": "ca.pem"}, "KAFKA_SECURITY_PROTOCOL is PLAINTEXT → write SSL or SASL_SSL"),
        (
            SASL | {"KAFKA_SASL_MECHANISM": "SCRAM-SHA256"},
            "KAFKA_SASL_MECHANISM is 'SCRAM-SHA256' → write 'SCRAM-SHA-256'",
        ),
        (SASL | {"KAFKA_SASL_MECHANISM": "OAUTHBEARER"}, "KAFKA_SASL_MECHANISM is 'OAUTHBEARER' → "),
        (
            SASL | {"KAFKA_SASL_JAAS_CONFIG": "..."},
            "KAFKA_SASL_JAAS_CONFIG is no setting → write KAFKA_SASL_PLAIN_USERNAME",
        ),
        (SASL | {"KAFKA_SSL_CAFLIE": "ca.pem"}, "KAFKA_SSL_CAFLIE is no setting → write 'KAFKA_SSL_CAFILE'"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": "nowhere.pem"}, "KAFKA_SSL_CAFILE=nowhere.pem cannot"),
    ],
)
def test_a_security_that_no_client_takes_is_told_once_by_its_variable(environ, says):
    told = {"kafka": "127.0.0.1:1", "environ": environ}
    broker = look(cluster.broker, **told)
    assert broker.status is Status.FAIL
    assert says in broker.says
    assert {look(each, **told).status for each in (cluster.topics, cluster.replicas, cluster.clock)} == {Status.SKIP}


def test_an_address_that_is_none_is_told_as_such():
    broker = look(cluster.broker, kafka="127.0.0.1:9092x")
    assert (broker.status, "→ host:port" in broker.says) == (Status.FAIL, True)


async def test_a_check_that_hangs_or_breaks_is_told_and_the_others_are_not_kept_waiting():
    async def hangs(_):
        await asyncio.Event().wait()

    async def breaks(_):
        raise ZeroDivisionError("ill")

    async def fine(_):
        return checks.ok("fine")

    found = await examine(
        [Check("hangs", hangs, within_s=0.05), Check("breaks", breaks), Check("fine", fine)], Where(state_dir=Path())
    )
    assert [finding.status for _, finding in found] == [Status.FAIL, Status.FAIL, Status.OK]
    assert "no answer within 0.05 s" in found[0][1].says
    assert "ill" in found[1][1].says


def test_a_room_that_works_and_has_something_to_look_at_is_a_warning():
    with dashboard(
        {"/readyz": (200, {"ready": True, "reasons": ["working"], "watch": ["p.events/3 is held up"]})}
    ) as url:
        found = look(serving.rooms, endpoints={"metrics": {"fused": f"{url}/metrics"}})
    assert (found.status, found.says) == ("warn", "fused: p.events/3 is held up")


def test_ray_of_another_release_and_one_that_refuses_us_are_told(tmp_path):
    with dashboard({"/api/ray/version": (200, {"ray_version": "1.13.0"})}) as url:
        found = look(serving.ray, ray="r:6379", ray_dashboard=url)
        assert (found.status, "ray[serve]==1.13.0" in found.mend) == ("fail", True)
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "token").write_text("wrong")
        refused = look(serving.ray, ray="r:6379", ray_dashboard=url, state_dir=tmp_path)
        assert (refused.status, "401" in refused.says) == ("fail", True)


def test_members_that_are_ill_or_not_there_are_told():
    app_ = {"deployments": {"deep": {"status": "HEALTHY"}, "wide": {"status": "UPDATING", "message": "no CPU"}}}
    with dashboard({"/api/serve/applications/": (200, {"applications": {"p": app_}})}) as url:
        ill = look(serving.members, ray="r", ray_dashboard=url)
        assert (ill.status, ill.says) == ("fail", "p.wide is UPDATING: no CPU")
        assert look(serving.members, ray="r", ray_dashboard=url, pipeline="q").says == "q is not deployed"


def test_a_room_that_has_stopped_says_why_through_the_doctor(tmp_path):
    answers = {"/readyz": (503, {"ready": False, "reasons": ["100 of the last 150 events are dead letters"]})}
    with dashboard(answers) as url:
        ends = {"metrics": {"ingest": f"{url}/metrics", "fused": f"{url}/metrics"}}
        found = look(serving.rooms, endpoints=ends, state_dir=tmp_path)
    assert (found.status, "are dead letters" in found.says) == ("fail", True)


def test_what_a_killed_runner_left_behind_is_told(tmp_path):
    (port,) = free_ports(1)
    ends = {"kafka": f"127.0.0.1:{port}", "admin": f"http://127.0.0.1:{port}"}
    (tmp_path / "endpoints.json").write_text(json.dumps(ends))
    where = Where.told(tmp_path, bootstrap=None, environ={})
    assert where.kafka == ends["kafka"]
    found = asyncio.run(machine.ports(where))
    assert (found.status, "kafka, admin" in found.says, "guidevane down" in found.mend) == ("fail", True, True)


def test_a_kept_port_that_somebody_took_is_told(tmp_path):
    with dashboard({}) as url:
        (tmp_path / "kafka").mkdir()
        (tmp_path / "kafka" / "ports.json").write_text(json.dumps({"broker": int(url.rpartition(":")[2])}))
        assert look(machine.ports, state_dir=tmp_path).status == "fail"


@pytest.mark.parametrize(("free", "status"), [(GIB // 2, "fail"), (3 * GIB, "warn"), (40 * GIB, "ok")])
def test_disk_and_memory_have_limits(free, status, tmp_path, monkeypatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    monkeypatch.setattr(machine, "_free_memory", lambda: free)
    assert look(machine.disk, state_dir=tmp_path / "not" / "yet").status == status
    assert look(machine.memory).status == status


def test_a_pipeline_with_mistakes_and_one_without_are_told(tmp_path, monkeypatch):
    assert look(contracts.pipeline, reference="employment").status == "ok"
    wrong = look(contracts.pipeline, reference="nobody.knows:this")
    assert (wrong.status, wrong.mend) == ("fail", "guidevane check nobody.knows:this")
    assert look(contracts.schemas, reference="employment").status == "ok"


@pytest.mark.parametrize(
    "content", ["[]", "5", "{", "\xff", '{"kafka": 5}', '{"metrics": ["m"]}', '{"metrics": {"m": 1}}']
)
def test_endpoints_that_nobody_of_ours_wrote_are_told_by_their_file_and_the_rest_is_looked_at(tmp_path, content):
    (tmp_path / "endpoints.json").write_text(content, encoding="latin-1")
    where = Where.told(tmp_path, bootstrap=None, environ={})
    found = asyncio.run(machine.ports(where))
    assert (found.status, "endpoints.json" in found.says) == (Status.FAIL, True)
    assert "guidevane down" in found.mend
    assert asyncio.run(serving.rooms(where)).status is Status.SKIP


def test_ports_that_a_start_has_taken_are_no_failure_and_those_that_a_stranger_has_are(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        kept = tmp_path / "kafka" / "ports.json"
        kept.parent.mkdir()
        kept.write_text(json.dumps({"broker": taken.getsockname()[1], "controller": taken.getsockname()[1]}))
        assert look(machine.ports, state_dir=tmp_path).status is Status.FAIL
        with claim(tmp_path):
            found = look(machine.ports, state_dir=tmp_path)
    assert (found.status, f"process {os.getpid()}" in found.says) == (Status.OK, True)
