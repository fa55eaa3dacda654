"""Every check there is, in the order in which they are told: what the later ones need comes first."""

from __future__ import annotations

from guidevane.doctor import cluster, contracts, machine, serving
from guidevane.doctor.check import Check

CHECKS = (
    Check("python", machine.python),
    Check("packages", machine.packages),
    Check("java", machine.java, within_s=10.0),
    Check("processors", machine.processors),
    Check("memory", machine.memory),
    Check("shared memory", machine.shared_memory),
    Check("open files", machine.files),
    Check("disk", machine.disk),
    Check("ports", machine.ports, within_s=10.0),
    Check("pipeline", contracts.pipeline, within_s=20.0),
    Check("schemas", contracts.schemas, within_s=20.0),
    Check("broker", cluster.broker, within_s=10.0),
    Check("topics", cluster.topics, within_s=10.0),
    Check("replicas", cluster.replicas, within_s=10.0),
    Check("clock", cluster.clock, within_s=10.0),
    Check("ray", serving.ray, within_s=8.0),
    Check("members", serving.members, within_s=8.0),
    Check("rooms", serving.rooms, within_s=8.0),
)
