"""What more than one worker cannot do is refused where it is written, with what to do about it."""

from __future__ import annotations

import pytest

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads

TEXT = """\
name: edge
workers: {workers}
listeners:
  - name: web
    address: 127.0.0.1:80
    protocol: http1
    cluster: app
    {listener}
clusters:
  - name: app
    endpoints: [127.0.0.1:9000]
    {cluster}
"""


def problems(workers: int, listener: str = "", cluster: str = "") -> list[str]:
    try:
        loads(TEXT.format(workers=workers, listener=listener, cluster=cluster))
    except InvalidConfig as error:
        return [problem.text for problem in error.problems]
    return []


LIMITED = "filters: [{name: rate_limit, config: {rate: 10, burst: 5}}]"


@pytest.mark.parametrize(
    ("listener", "cluster", "said"),
    [
        (LIMITED, "", "rate_limit counts in one process, and there are 4 workers; remove it, or write workers: 1"),
        ("max_connections: 3", "", "max_connections is divided between 4 workers, and 3 is less than one for each"),
        ("", "limits: {max_requests: 2}", "max_requests is divided between 4 workers, and 2 is less than one for each"),
        ("", "limits: {max_connections: 2}", "max_connections is divided between 4 workers, and 2 is less than"),
        ("", "limits: {max_pending: 1}", "max_pending is divided between 4 workers, and 1 is less than one for each"),
    ],
)
def test_what_several_cannot_do(listener: str, cluster: str, said: str) -> None:
    (problem,) = problems(4, listener, cluster)
    assert said in problem
    assert problems(1, listener, cluster) == []


def test_limits_of_which_each_has_a_part_are_no_problem() -> None:
    assert problems(4, "max_connections: 4", "limits: {max_requests: 4, max_pending: 5}") == []
