from __future__ import annotations

from shm_metrics.processes import families
from shm_metrics.slots import Process


def test_processes_of_one_number_count_together() -> None:
    told = [
        Process(4, 100.0, 1.5, 10.0, 5.0, 100.0),
        Process(5, 200.0, 2.0, 20.0, 6.0, 100.0),
        Process(5, 201.0, 0.5, 10.0, 4.0, 100.0),
        Process(0, 1.0, 1.0, 1.0, 1.0, 1.0),
    ]
    figures = {
        family.shape.name: [(member.values, member.cells) for member in family.members] for family in families(told)
    }
    assert figures["process_cpu_seconds_total"] == [(("4",), [1.5]), (("5",), [2.5])]
    assert figures["process_open_fds"] == [(("4",), [5.0]), (("5",), [10.0])]
    assert figures["process_start_time_seconds"] == [(("4",), [100.0]), (("5",), [200.0])]
