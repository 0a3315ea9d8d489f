"""resolv.conf and hosts, from their texts."""

from __future__ import annotations

from hotswap.address import Address
from proxy.dns.system import Setup, in_hosts, setup_of


def test_resolv_conf() -> None:
    setup = setup_of(
        "# by hand\nnameserver 10.0.0.2\nnameserver ::1\nnameserver nonsense\nsearch a.test. B.test ; mine\n"
        "options ndots:5 timeout:99 attempts:x rotate\n"
    )
    assert setup.servers == (Address.parse("10.0.0.2:53"), Address.parse("[::1]:53"))
    assert (setup.search, setup.ndots, setup.timeout, setup.attempts) == (("a.test", "b.test"), 5, 30, 2)
    assert setup_of("") == Setup()


def test_candidates_follow_ndots() -> None:
    setup = Setup(search=("a.test", "b.test"), ndots=2)
    assert setup.candidates("app") == ("app.a.test.", "app.b.test.", "app.")
    assert setup.candidates("x.y.z") == ("x.y.z.", "x.y.z.a.test.", "x.y.z.b.test.")
    assert setup.candidates("app.") == ("app.",)


def test_hosts() -> None:
    text = "127.0.0.1 localhost\n10.0.0.1\tother app.test # app\n::1 app.test\n10.0.0.9 myapp.test\nx app.test"
    assert in_hosts(text, "app.test") == ("10.0.0.1", "::1")
    assert in_hosts(text, "app") == ()
