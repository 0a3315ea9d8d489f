"""From plaintext to TLS and back, between two proxies under load: nobody notices."""

from __future__ import annotations

import pytest

from tests.kit.certificates import Authority
from tests.kit.load import Plan
from tests.kit.opposite import IDLE, Opposites
from tests.kit.stage import Stage

BREEZE = Plan(busy=20, idle=2, streams=2, uploads=2, bolt=10, bolt_calls=8, rate=200, bolt_rate=300, stream_seconds=1)


@pytest.mark.timeout(300)
def test_switched_on_and_off_under_load(stage: Stage, authority: Authority) -> None:
    pair = Opposites(stage, authority)
    load = pair.load(BREEZE)
    for wanted in ("on", "off"):
        pair.order(wanted)
        pair.wait_settled(within=IDLE + 10)
        assert load.turn().failures == []
        print(pair.entry("app"), pair.entry("calls"), pair.retired())
    report = load.finish()
    print(report.summary())
    assert report.failures == []
    assert pair.behind.record().wrong == []
