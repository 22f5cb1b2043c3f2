"""address: URLs, Datadog's variables, gunicorn's statsd_host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.config.agent_address import (
    Address,
    from_datadog,
    from_gunicorn,
    parse,
)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("udp://localhost:8125", Address("udp", host="localhost", port=8125)),
        ("udp://agent.example", Address("udp", host="agent.example", port=8125)),
        ("udp://[::1]:9125", Address("udp", host="::1", port=9125)),
        ("udp://localhost:8125/", Address("udp", host="localhost", port=8125)),
        ("unix:///var/run/dsd.socket", Address("unix", path="/var/run/dsd.socket")),
        ("unixgram:///a", Address("unixgram", path="/a")),
        ("unixstream:///a", Address("unixstream", path="/a")),
    ],
)
def test_good_urls(url: str, address: Address) -> None:
    """Each form is understood, and printed so that it is understood again."""
    assert parse(url) == address
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "the scheme is ''"),
        ("localhost:8125", "the scheme is 'localhost'"),
        ("http://localhost:8125", "the scheme is 'http'"),
        ("udp://", "no host"),
        ("udp://:8125", "no host"),
        ("udp://localhost:0", "out of range"),
        ("udp://localhost:65536", "out of range"),
        ("udp://localhost:port", "could not be cast"),
        ("udp://localhost:8125/metrics", "more than host and port"),
        ("udp://me@localhost:8125", "more than host and port"),
        ("udp://local host:8125", "blank"),
        ("udp://localhost:8125\n", "blank"),
        ("unix://run/dsd.socket", "not absolute"),
        ("unix:run/dsd.socket", "not absolute"),
        ("unix:///", "not absolute"),
        ("unix:///" + "x" * 107, "longer than 107 bytes"),
    ],
)
def test_bad_urls(url: str, reason: str) -> None:
    """Each is refused with its reason."""
    with pytest.raises(ValueError, match=reason):
        parse(url)


@pytest.mark.parametrize(
    ("host", "valid"),
    [
        ("b\u00fccher.example", True),
        ("x" * 63 + ".", True),
        ("a.", True),
        ("::1%eth0", True),
        ("x" * 64, False),
        (".", False),
        ("a..b", False),
        ("\u00fc" * 64, False),
    ],
)
def test_host_names_that_can_be_looked_up(host: str, valid: bool) -> None:
    """A name that ``getaddrinfo`` cannot encode is refused, with its text in the reason."""
    unusable: list[str] = []
    found = from_datadog({"DD_AGENT_HOST": host}, unusable)
    assert (found is not None) == valid
    assert ("is no host name" in "".join(unusable)) == (not valid)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    """No other error comes out, whatever the text is."""
    for url in (text, f"udp://{text}", f"unix:///{text}"):
        try:
            address = parse(url)
        except ValueError:
            continue
        assert parse(str(address)) == address


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        ({"DD_AGENT_HOST": "", "DD_DOGSTATSD_URL": ""}, None),
        ({"DD_AGENT_HOST": "10.0.0.1"}, (Address("udp", "10.0.0.1", 8125), "DD_AGENT_HOST")),
        ({"DD_AGENT_HOST": "[::1]"}, (Address("udp", "::1", 8125), "DD_AGENT_HOST")),
        (
            {"DD_AGENT_HOST": "[fe80::1%eth0]"},
            (Address("udp", "fe80::1%eth0", 8125), "DD_AGENT_HOST"),
        ),
        (
            {"DD_DOGSTATSD_PORT": "9125"},
            (Address("udp", "localhost", 9125), "DD_DOGSTATSD_PORT"),
        ),
        (
            {"DD_AGENT_HOST": "agent", "DD_DOGSTATSD_PORT": "9125"},
            (Address("udp", "agent", 9125), "DD_AGENT_HOST and DD_DOGSTATSD_PORT"),
        ),
        (
            {"DD_DOGSTATSD_URL": "unix:///a", "DD_AGENT_HOST": "agent"},
            (Address("unix", path="/a"), "DD_DOGSTATSD_URL"),
        ),
    ],
)
def test_datadogs_variables(environ: dict[str, str], found: tuple[Address, str] | None) -> None:
    """The URL comes before host and port; brackets are no part of a host."""
    unusable: list[str] = []
    assert from_datadog(environ, unusable) == found
    assert unusable == []


@pytest.mark.parametrize(
    ("variable", "value"), [("DD_DOGSTATSD_URL", "tcp://a:1"), ("DD_DOGSTATSD_PORT", "0x1")]
)
def test_bad_variables_are_named(variable: str, value: str) -> None:
    """What is said is which variable is wrong; the others are in force."""
    unusable: list[str] = []
    found = from_datadog({variable: value, "DD_AGENT_HOST": "agent"}, unusable)
    assert found == (Address("udp", host="agent", port=8125), "DD_AGENT_HOST")
    assert unusable[0].startswith(f"{variable}='{value}'")


@pytest.mark.parametrize("host", ["a b", "agent\n", "a..b", "a" * 300])
def test_a_host_that_is_none_is_passed_over(host: str) -> None:
    """It would be looked up for ever, and stand in the log as it is."""
    unusable: list[str] = []
    assert from_datadog({"DD_AGENT_HOST": host}, unusable) is None
    assert unusable[0].startswith(f"DD_AGENT_HOST={host!r}: ")
    for statsd_host in ((host, 8125), f"/run/{host}\n"):
        with pytest.raises(ValueError, match=r"host|character"):
            from_gunicorn(statsd_host)


@pytest.mark.parametrize(
    ("statsd_host", "address"),
    [
        (None, None),
        (("localhost", 8125), Address("udp", host="localhost", port=8125)),
        (("", 9125), Address("udp", host="localhost", port=9125)),
        (("[::1]", 9125), Address("udp", host="::1", port=9125)),
        ("/run/statsd.sock", Address("unix", path="/run/statsd.sock")),
    ],
)
def test_gunicorns_statsd_host(statsd_host: object, address: Address | None) -> None:
    """gunicorn has parsed it already."""
    assert from_gunicorn(statsd_host) == address
