"""What infra/ and docker-compose.yml say is so: no engine is needed to see that a name, a path or a port is wrong."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

import guidevane
from guidevane.access import SHORTEST_TOKEN, check_access
from guidevane.local.jars import VERSION as KAFKA_VERSION
from guidevane.local.ray import _SHARED as RAY_SHARED
from guidevane.services.admin.settings import AdminSettings
from guidevane.services.controller.settings import ControllerSettings
from guidevane.services.inference.settings import InferenceSettings
from guidevane.services.ingest.settings import IngestSettings
from guidevane.services.monitors.settings import MonitorsSettings
from guidevane.settings import PREFIX, RoomSettings, read_settings
from guidevane.telemetry.names import DECLARED, EVERYWHERE

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "infra" / "docker"
ROOMS: dict[str, type[RoomSettings]] = {
    "ingest": IngestSettings,
    "preprocess": RoomSettings,
    "inference": InferenceSettings,
    "postprocess": RoomSettings,
    "monitors": MonitorsSettings,
    "controller": ControllerSettings,
    "admin": AdminSettings,
}
SECRETS = {
    "GUIDEVANE_HTTP_TOKEN",
    "GUIDEVANE_ADMIN_TOKEN",
    "GUIDEVANE_PSEUDONYM_KEY",
    "RAY_AUTH_TOKEN",
    "GRAFANA_ADMIN_PASSWORD",
}
# Of the Compose Specification, what this file uses; a misspelt key would be refused, and an unknown one is looked up.
SERVICE_KEYS = {
    "image": str, "build": dict, "command": list, "init": bool, "restart": str, "stop_grace_period": str,
    "cap_drop": list, "security_opt": list, "mem_limit": str, "shm_size": str, "volumes": list, "ports": list,
    "depends_on": dict, "healthcheck": dict, "environment": dict, "secrets": list,
}  # fmt: skip
HEALTH_KEYS = {
    "test": list,
    "interval": str,
    "timeout": str,
    "retries": int,
    "start_period": str,
    "start_interval": str,
}
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "infra/grafana/dashboards/pipeline.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((ROOT / "infra/prometheus/rules.yml").read_text(encoding="utf-8"))
PROMETHEUS = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text(encoding="utf-8"))


def said(text: str, **given: str) -> str:
    """Interpolate as Compose does, for what is used here: ``${X:?…}``, ``${X:-…}`` and ``${X-…}``."""
    pattern = r"\$\{(?P<name>\w+)(?::\?[^}]+|:?-(?P<default>[^}]*))\}"
    return re.sub(pattern, lambda found: given.get(found["name"], found["default"] or ""), text)


def expressions() -> list[str]:
    told = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return told + [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]


def test_given_the_compose_file_then_every_key_is_known_and_of_its_kind():
    assert set(COMPOSE) <= {"name", "services", "secrets", "volumes"} | {key for key in COMPOSE if key[:2] == "x-"}
    for name, service in SERVICES.items():
        assert {key: type(value) for key, value in service.items()} == {key: SERVICE_KEYS[key] for key in service}, name
        health = service["healthcheck"]
        assert {key: type(value) for key, value in health.items()} == {key: HEALTH_KEYS[key] for key in health}, name
        assert all(isinstance(value, str) for value in service.get("environment", {}).values()), name


def test_given_the_rooms_then_each_has_a_container_that_starts_its_module():
    for room in ROOMS:
        assert find_spec(f"guidevane.services.{room}.__main__") is not None
        if room != "inference":
            assert SERVICES[room]["command"] == ["python", "-m", f"guidevane.services.{room}"]
    assert SERVICES["inference"]["command"] == ["room", "ray:6379"]
    assert "exec python -m guidevane.services.inference" in (DOCKER / "ray.sh").read_text()


@pytest.mark.parametrize("room", ROOMS)
def test_given_a_rooms_environment_then_it_is_what_the_room_starts_with(room, monkeypatch):
    secrets = dict.fromkeys(SECRETS, "s" * SHORTEST_TOKEN)
    for name, value in SERVICES[room]["environment"].items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, said(value, **secrets))
    settings = read_settings(ROOMS[room])
    assert settings.pipeline == "employment"
    assert (settings.metrics_host, settings.metrics_port) == ("0.0.0.0", 9464)  # noqa: S104 - a container's network
    if isinstance(settings, AdminSettings):
        assert settings.token() == secrets["GUIDEVANE_ADMIN_TOKEN"]
    if isinstance(settings, IngestSettings):
        assert settings.secret() == secrets["GUIDEVANE_PSEUDONYM_KEY"].encode()
        check_access(settings.http_host, secrets["GUIDEVANE_HTTP_TOKEN"], setting="GUIDEVANE_HTTP_TOKEN")


def test_given_every_file_of_infra_then_it_names_only_settings_that_are_there():
    known = {f"{PREFIX}{field}".upper() for kind in ROOMS.values() for field in kind.model_fields}
    files = [ROOT / "docker-compose.yml", *(path for path in (ROOT / "infra").rglob("*") if path.is_file())]
    for path in files:
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", path.read_text(encoding="utf-8")))
        assert named <= known, path


def test_given_the_secrets_then_none_has_a_default_and_each_refuses_to_be_missing():
    wanted = dict(re.findall(r"\$\{(\w+):\?([^}]+)\}", TEXT))
    assert set(wanted) == SECRETS
    assert all(f"set {name} in .env" in message for name, message in wanted.items())
    assert set(re.findall(r"\$\{(\w+):?-", TEXT)) == {"GUIDEVANE_PIPELINE", "PIPELINES", "UV_TORCH_BACKEND"}
    example = (DOCKER / "env.example").read_text(encoding="utf-8")
    assert dict(re.findall(r"^(\w+)=(.*)$", example, flags=re.MULTILINE)) == dict.fromkeys(SECRETS, "")


def test_given_a_secret_then_only_who_needs_it_gets_it():
    holders = {name: {room for room, service in SERVICES.items() if name in str(service)} for name in SECRETS}
    assert holders == {
        "GUIDEVANE_HTTP_TOKEN": {"ingest"},
        "GUIDEVANE_PSEUDONYM_KEY": {"ingest"},
        "GUIDEVANE_ADMIN_TOKEN": {"admin"},
        "GRAFANA_ADMIN_PASSWORD": {"grafana"},
        "RAY_AUTH_TOKEN": {"ray", "inference", "controller"},
    }
    assert COMPOSE["secrets"] == {"ray_token": {"environment": "RAY_AUTH_TOKEN"}}


def test_given_published_ports_then_they_are_this_machines_only_and_no_two_are_the_same():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_given_a_container_then_it_is_watched_limited_and_given_nothing_to_climb_with():
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert "curl" not in str(service["healthcheck"]), name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["restart"] == "unless-stopped", name
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, (name, other)
            assert "healthcheck" in SERVICES[other], (name, other)
    for room in ROOMS:
        assert "kafka" in SERVICES[room]["depends_on"], room
        assert "127.0.0.1:9464/readyz" in SERVICES[room]["healthcheck"]["test"][-1], room


def test_given_an_image_then_its_tag_is_a_version():
    froms = re.findall(r"^FROM (\S+:\S+)", DOCKERFILE, flags=re.MULTILINE)
    for image in [*froms, *(service["image"] for service in SERVICES.values())]:
        assert re.search(r":v?\d+\.\d+\.\d+", image), image
    ours = {service["image"].partition(":")[2] for service in SERVICES.values() if "build" in service}
    assert ours == {guidevane.__version__}
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert f"uv=={_made('UV_VERSION')}" in DOCKERFILE


def _made(name: str) -> str:
    found = re.search(rf"^{name} := (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert found is not None
    return found[1]


def test_given_the_builds_then_their_targets_stages_and_sources_are_there():
    stages = re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, flags=re.MULTILINE)
    for service in SERVICES.values():
        if build := service.get("build"):
            assert (ROOT / build["context"] / build["dockerfile"]).is_file()
            assert build["target"] in stages
    assert set(re.findall(r"--from=(\S+)", DOCKERFILE)) <= set(stages)
    let_through = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert f"!{source}" in let_through, source


def test_given_a_rooms_image_then_what_the_room_imports_is_installed_in_it():
    """Late imports, too: a controller without numba starts, is ready, and never steers."""
    extras = {"numba": "controller", "river": "monitors", "faust": "windows", "ray": "inference"}
    imports = grimp.build_graph("guidevane", include_external_packages=True, exclude_type_checking_imports=True)
    for room in ROOMS:
        target = SERVICES[room]["build"]["target"]
        installed = re.findall(
            r"--extra (\S+)", DOCKERFILE.partition(f"FROM build AS build-{target}")[2].split("FROM")[0]
        )
        needed = imports.find_upstream_modules(f"guidevane.services.{room}", as_package=True)
        assert {extras[package] for package in extras.keys() & needed} <= set(installed), room


def test_given_the_mounts_then_what_is_mounted_is_there():
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source = said(mount).partition(":")[0]
            assert source in COMPOSE["volumes"] or (source.startswith("./") and (ROOT / source).is_dir()), (name, mount)


def test_given_ray_then_both_sides_of_a_connection_have_the_same_environment():
    block = DOCKERFILE.partition("FROM run AS ray")[2]
    told = dict(re.findall(r"\b(RAY_\w+)=(\w+)", block.partition("COPY")[0]))
    # That one keeps a local Ray on the loopback address; containers have addresses of their own.
    assert told == {name: value for name, value in RAY_SHARED.items() if name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    assert SERVICES["ray"]["image"] == SERVICES["inference"]["image"]
    assert SERVICES["controller"]["environment"]["GUIDEVANE_RAY_DASHBOARD"] == "http://ray:8265"


def test_given_prometheus_then_it_scrapes_every_room_and_reads_rules_that_are_there():
    (job,) = PROMETHEUS["scrape_configs"]
    (asked,) = job["dns_sd_configs"]
    assert set(asked["names"]) == set(ROOMS)
    assert asked["port"] == 9464
    assert all((ROOT / "infra/prometheus" / name).is_file() for name in PROMETHEUS["rule_files"])
    assert all(rule["annotations"]["look"] for group in RULES["groups"] for rule in group["rules"])


def test_given_every_query_then_its_metrics_and_labels_are_declared():
    for expression in expressions():
        for name, selector in re.findall(r"\b(guidevane_\w+)(?:\{([^}]*)\})?", expression):
            metric = DECLARED.get(name)
            if metric is None:
                base, _, part = name.rpartition("_")
                metric = DECLARED[base]
                assert (metric.kind, part in {"bucket", "sum", "count"}) == ("histogram", True), name
            else:
                assert metric.kind != "histogram", f"{name} has no series of that name, only _bucket, _sum and _count"
            labels = set(re.findall(r"(\w+)\s*=~?", selector))
            assert labels <= {*metric.labels, *EVERYWHERE}, (name, selector)
        asked = set(re.findall(r"\bby \(([^)]*)\)", expression))
        for label in {label.strip() for each in asked for label in each.split(",")} - {"le", "job", *EVERYWHERE}:
            metrics = [DECLARED[name] for name in DECLARED if name in expression]
            assert any(label in metric.labels for metric in metrics), (label, expression)


def test_given_the_dashboard_then_grafana_finds_it_its_data_and_its_variables():
    sources = yaml.safe_load((ROOT / "infra/grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = sources["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = {name for text in expressions() for name in re.findall(r"\$(\w+)", text)} - {"__rate_interval", "labels"}
    assert used == variables
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    provider = yaml.safe_load((ROOT / "infra/grafana/provisioning/dashboards/dashboards.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert f"./infra/grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "infra/grafana/dashboards" / Path(home).name).is_file()


@pytest.mark.parametrize("wanted", ["end to end", "p99 of each stage", "dead letters", "replicas", "alerts", "lag"])
def test_given_the_dashboard_then_it_shows_what_an_operator_asks_first(wanted):
    assert any(wanted in panel["title"].lower() for panel in DASHBOARD["panels"])
