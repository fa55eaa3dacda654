"""Given a run that is over, when it is summed up, then it says of which events, and for how long."""

from __future__ import annotations

from guidevane.demo.report import verdict

RUN = {
    "events": 10, "lost": 0, "duplicated": 0, "conflicting": 0,
    "slo": {"within_ms": 250.0, "target": 0.99, "attained": 1.0, "met": True},
    "controller": {"on": True, "tripled": {"events": 7, "missed": 2, "span_s": 30.0}},
}  # fmt: skip


def test_given_a_rate_that_tripled_for_half_a_minute_then_no_minute_is_spoken_of() -> None:
    assert verdict(RUN).endswith("with the controller, of the 7 events of the 30 s after the rate tripled, 2 missed it")
