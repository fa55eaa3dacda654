"""Given half as much again as a pipeline bears, when events are dropped before they cost, then little is lost."""

import pytest
from loadtests.steering.overload import goodput


@pytest.mark.parametrize("name", ["image", "social"])
def test_nearly_all_of_the_capacity_serves_in_time_also_where_branches_meet_again(name):
    served = goodput(name, seed=1)

    assert served["proactive"] >= 0.95
    assert served["proactive"] >= served["reactive"] + 0.16
