"""Given objectives, when their costs are asked, then a looser one never costs more."""

from __future__ import annotations

from dataclasses import replace

from guidevane.control import question as asked
from guidevane.control.reading import read_graph

GRAPH = read_graph({"stages": {"a": {"latency_ms": {"1": 20, "8": 60}}}, "edges": []})
QUESTION = asked.Question(graph=GRAPH, slo_s=0.2, rate_per_s=50.0)


def test_given_a_search_that_finds_a_dearer_plan_or_none_for_a_looser_objective_then_the_tighter_one_s_is_told(
    monkeypatch,
):
    searched = asked.answer

    def unlucky(question: asked.Question, **limits: float) -> asked.Answer:
        found = searched(question, **limits)
        if question.slo_s == 0.4:
            raise asked.Infeasible("not found")
        dear = replace(found.plan, usd_per_hour=9 * found.plan.usd_per_hour, proved=False, gap=0.9)
        return replace(found, plan=dear) if question.slo_s == 0.8 else found

    monkeypatch.setattr(asked, "answer", unlucky)
    told = dict(asked.curve(QUESTION, [0.8, 0.4, 0.2]))

    assert list(told) == [0.8, 0.4, 0.2]
    assert told[0.2].plan.proved
    assert {each.plan.usd_per_hour for each in told.values()} == {told[0.2].plan.usd_per_hour}
    assert told[0.4].plan.gap == 1.0
    assert told[0.8].plan.gap < 0.2
    assert told[0.8].forecast.miss <= 0.01


def test_given_the_answer_to_the_question_itself_then_the_curve_goes_through_it():
    found = asked.answer(QUESTION)
    assert dict(asked.curve(QUESTION, [0.1, 0.2], known=found))[0.2] is found
