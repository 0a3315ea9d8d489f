"""That a request is taken apart as it says; never how fast anything is."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from tests.bench import anatomy, flame, perf
from tests.bench.machine import describe
from tests.bench.page import Measured, section
from tests.bench.perf import KERNEL, Frame, Stack
from tests.kit.companion import ROOT

WRITING: Stack = (
    Frame("main", "/bin/proxy"),
    Frame("loop", "/bin/proxy"),
    Frame("write", "/lib/libc.so.6"),
    Frame("entry_SYSCALL_64_after_hwframe", KERNEL),
    Frame("do_syscall_64", KERNEL),
    Frame("ksys_write", KERNEL),
    Frame("tcp_sendmsg", KERNEL),
)
PARSING: Stack = (*WRITING[:2], Frame("parse<head>", "/bin/proxy"))
INTERRUPTED: Stack = (*WRITING[:2], Frame("asm_sysvec_apic_timer_interrupt", KERNEL))
STACKS = Counter({WRITING: 6, PARSING: 3, INTERRUPTED: 1})


def needs_perf() -> None:
    if not perf.available():
        pytest.skip(f"perf cannot count here: {perf.REMEDY}")


def test_samples_are_shared_out_among_program_and_kernel() -> None:
    functions, inside, ways = anatomy.shares_of(STACKS)
    assert functions == [("parse<head>", 0.3)]
    assert inside == [("tcp_sendmsg", 0.6), ("asm_sysvec_apic_timer_interrupt", 0.1)]
    assert ways == [("write", 0.6), ("interrupt", 0.1)]
    assert anatomy.kernel_share(STACKS) == 0.7


@pytest.mark.parametrize(
    ("names", "way"),
    [
        (["entry_SYSCALL_64_after_hwframe", "do_syscall_64", "x64_sys_call", "__x64_sys_read", "ksys_read"], "read"),
        (["entry_SYSCALL_64_after_hwframe", "do_syscall_64", "__sys_recvfrom", "sock_recvmsg"], "recvfrom"),
        (["entry_SYSCALL_64_after_hwframe", "do_syscall_64", "exit_to_user_mode_loop", "schedule"], "entry and exit"),
        (["entry_SYSCALL_64_after_hwframe"], "entry and exit"),
        (["asm_exc_page_fault", "exc_page_fault"], "interrupt"),
    ],
)
def test_ways_into_the_kernel_are_system_calls(names: list[str], way: str) -> None:
    assert anatomy.way_into_kernel((*WRITING[:3], *(Frame(name, KERNEL) for name in names))) == way


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("__pyx_f_5proxy_3tcp_5Relay_take", "proxy.tcp.Relay.take"),
        ("__pyx_pw_5proxy_7reactor_7Reactor_3tick", "proxy.reactor.Reactor.tick"),
        ("__pyx_pf_5proxy_3tcp_relay.isra.0", "proxy.tcp.relay"),
        ("__GI___libc_write", "write"),
        ("__GI___writev", "writev"),
        ("__send", "send"),
        ("do_softirq.part.0", "do_softirq"),
        ("__libc_start_main@@GLIBC_2.34", "start_main"),
        ("__napi_poll", "__napi_poll"),
        ("_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault"),
        ("[unknown]", "[unknown]"),
    ],
)
def test_symbols_are_shown_as_their_authors_know_them(symbol: str, name: str) -> None:
    assert perf.pretty(symbol) == name


def test_a_function_without_a_name_is_known_by_its_file() -> None:
    assert anatomy.name_of(Frame("[unknown]", "/usr/sbin/nginx")) == "(nginx)"


def test_stacks_are_read_from_the_outermost_function() -> None:
    lines = [
        "\tff82 tcp_sendmsg ([kernel.kallsyms])",
        "\t   f8350 __GI___libc_write (/lib/libc.so.6)",
        "",
        "\t 1f [unknown] (/a b)",
    ]
    assert list(perf.stacks_of("\n".join(lines))) == [
        (Frame("write", "/lib/libc.so.6"), Frame("tcp_sendmsg", KERNEL)),
        (Frame("[unknown]", "/a b"),),
    ]


def test_counts_have_what_is_not_known_by_name_as_others() -> None:
    counted = {"raw_syscalls:sys_enter": 10, "syscalls:sys_enter_read": 6, "syscalls:sys_enter_write": 0}
    lines = ["# started", "", *(f"{count},,{event},1,100.00,," for event, count in counted.items())]
    assert perf.counts_of("\n".join(lines)) == {"read": 6, "others": 4}


def test_a_picture_leaves_out_what_is_common_and_tells_shares() -> None:
    picture = ET.fromstring(flame.picture("a & b", STACKS))
    titles = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert "main (proxy) 100.0%" not in titles
    assert {"loop (proxy) 100.0%", "parse<head> (proxy) 30.0%", "tcp_sendmsg ([kernel.kallsyms]) 60.0%"} <= {*titles}


def test_a_picture_is_small_however_much_there_is_to_show() -> None:
    stacks = Counter({tuple(Frame(f"{one}-{depth}", "") for depth in range(99)): 1 for one in range(199)})
    assert len(flame.picture("many", stacks)) <= flame.LARGEST
    assert ET.fromstring(flame.picture("none", Counter())) is not None


def test_functions_of_python_are_told_with_their_module() -> None:
    seen = {(f"{ROOT}/proxy/http1/parser.py", "Parser.feed"): 3, ("/lib/python3.11/selectors.py", "select"): 1}
    assert anatomy.python_functions(seen) == [("http1/parser: Parser.feed", 0.75), ("selectors: select", 0.25)]


def test_system_calls_are_counted_while_the_work_is_done() -> None:
    needs_perf()
    reading, writing = os.pipe()

    def work() -> str:
        for _ in range(100):
            os.write(writing, b"x")
        return "done"

    done, calls = perf.system_calls(os.getpid(), work)
    os.close(reading)
    os.close(writing)
    assert done == "done"
    assert 100 <= calls["write"] <= 102  # and the word that ends it


@pytest.mark.all
def test_a_run_takes_requests_of_ours_apart() -> None:
    needs_perf()
    plan = anatomy.Plan(seconds=0.3, workloads=anatomy.WORKLOADS[:1])
    result = anatomy.measure(plan, lambda _: None)
    ours = result.rows[0]
    assert ours.proxy == "hotswap"
    assert ours.own > 0
    assert ours.kernel > 0
    assert 3.9 < sum(ours.calls.values()) < 6  # two messages, each read and written, and some waits
    assert sum(share for _, share in ours.calling) > 0.1
    assert ours.python
    assert "tcp-hotswap.svg" in result.flames
    text = section(Measured(describe(), result))
    for words in ["TCP relay", "ways into the kernel", "(flames/tcp-hotswap.svg)"]:
        assert words in text


def test_without_perf_the_split_is_shown_alone() -> None:
    row = anatomy.Row(anatomy.WORKLOADS[0], "hotswap", "1", 3.0, 8.0)
    text = section(Measured(describe(), anatomy.Result([row], {"perf": perf.REMEDY}, {})))
    assert "perf was not installed" in text
    assert "| 8.0 " in text
    assert "flame graphs" not in text
