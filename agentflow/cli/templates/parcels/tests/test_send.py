"""What the workflow promises. Run it with: python -m pytest"""

from pathlib import Path

import pytest

from agentflow import Agentflow
from agentflow.testing import assert_blocked, assert_spent, assert_status

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def flow(tmp_path):
    with Agentflow.open(PROJECT, folder=tmp_path) as opened:
        yield opened


def test_the_cheapest_carrier_that_is_in_time_takes_the_parcel(flow):
    result = flow.run("send", kilograms=2.0, within_days=3)
    assert_status(result, "succeeded", label="ok", approve="skipped")
    assert (result.outputs["carrier"], result.outputs["usd"]) == ("van", 8.2)
    assert_spent(result, micro_usd=3_000)


def test_a_dear_parcel_waits_for_a_person(flow):
    result = flow.run("send", within_days=1)
    assert_status(result, "waiting")
    assert flow.decide(result.run_id, "approve", by="ann").outputs["carrier"] == "plane"


def test_a_heavy_parcel_is_refused_before_anybody_is_asked(flow):
    result = flow.run("send", kilograms=31.0)
    assert_blocked(result, "parcels.not_too_heavy", at="tool_args", step="offers")
    assert_spent(result, micro_usd=0)
