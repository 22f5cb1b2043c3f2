"""settings: precedence of the sources, and inherited settings of gunicorn and Datadog."""

from __future__ import annotations

import pytest

from gunicorn_backlog.config.agent_address import Address
from gunicorn_backlog.config.settings import ConfigError, Settings, load
from tests.lab.fake_arbiter import Cfg


def test_defaults() -> None:
    """Without any source, the settings are the documented defaults."""
    loaded = load(Cfg(), {}, {})
    assert loaded == Settings()
    assert (loaded.enabled, loaded.interval_s, loaded.samples) == (True, 1.0, 10)
    assert str(loaded.address) == "udp://localhost:8125"
    assert loaded.backlog_type == "histogram"


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("ENABLED", "no", "enabled", False),
        ("ENABLED", "On", "enabled", True),
        ("INTERVAL", "10", "interval_s", 10.0),
        ("SAMPLES", "1", "samples", 1),
        ("URL", "unix:///a", "address", Address("unix", path="/a")),
        ("TAGS", "a:b, c:d", "tags", ("a:b", "c:d")),
        ("TYPE", "gauge", "backlog_type", "gauge"),
        ("METRICS", "wait, backlog,wait", "metrics", ("backlog", "wait")),
        ("REQUEST_WAIT", "1", "request_wait", True),
    ],
)
def test_environment_comes_before_configure(
    variable: str, text: str, field: str, value: object
) -> None:
    """Each variable overrides the file's setting."""
    configured = {
        "enabled": not value,
        "interval": 5,
        "samples": 5,
        "url": "udp://other:1",
        "tags": ["e:f"],
        "backlog_type": "distribution",
        "metrics": ["loop"],
        "request_wait": False,
    }
    loaded = load(Cfg(), configured, {f"GUNICORN_BACKLOG_{variable}": text})
    assert getattr(loaded, field) == value
    assert getattr(load(Cfg(), configured, {}), field) != value


def test_an_empty_variable_is_absent() -> None:
    """Compose files and charts set empty variables that must have no effect."""
    assert load(Cfg(), {"interval": 5}, {"GUNICORN_BACKLOG_INTERVAL": ""}).interval_s == 5


def test_address_precedence() -> None:
    """Our variable, configure(), Datadog's variable, gunicorn's setting, the default."""
    environ = {"GUNICORN_BACKLOG_URL": "udp://one:1", "DD_AGENT_HOST": "three"}
    configured: dict[str, object] = {"url": "udp://two:2"}
    cfg = Cfg(statsd_host=("four", 4))
    loaded = [load(cfg, configured, environ)]
    del environ["GUNICORN_BACKLOG_URL"]
    loaded.append(load(cfg, configured, environ))
    loaded.append(load(cfg, {}, environ))
    loaded.append(load(cfg, {}, {}))
    loaded.append(load(Cfg(), {}, {}))
    hosts = [settings.address.host for settings in loaded]
    assert hosts == ["one", "two", "three", "four", "localhost"]
    assert [settings.address_from for settings in loaded] == [
        "GUNICORN_BACKLOG_URL",
        "configure(url=...)",
        "DD_AGENT_HOST",
        "statsd_host",
        "default",
    ]


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"DD_DOGSTATSD_URL": "unix:///a", "DD_AGENT_HOST": "a"}, "DD_DOGSTATSD_URL"),
        ({"DD_DOGSTATSD_URL": "http://a", "DD_AGENT_HOST": "a"}, "DD_AGENT_HOST"),
        ({"DD_AGENT_HOST": "a", "DD_DOGSTATSD_PORT": "1"}, "DD_AGENT_HOST and DD_DOGSTATSD_PORT"),
        ({"DD_AGENT_HOST": "a b", "DD_DOGSTATSD_PORT": "1"}, "DD_DOGSTATSD_PORT"),
        ({"DD_AGENT_HOST": "a b"}, "statsd_host"),
        ({"GUNICORN_BACKLOG_URL": " "}, "statsd_host"),
    ],
)
def test_the_source_of_the_address(environ: dict[str, str], source: str) -> None:
    """The source has the name that users write; an ignored variable is not named."""
    cfg = Cfg(statsd_host=("localhost", 8125))
    assert load(cfg, {}, environ).address_from == source


LINKS = (
    "SERVICE_HOST",
    "SERVICE_PORT",
    "SERVICE_PORT_HTTP_ALT",
    "PORT",
    "PORT_80_TCP",
    "PORT_53_UDP_PROTO",
    "PORT_53_SCTP_PORT",
    "PORT_80_TCP_ADDR",
    "PORT_80_TCP_PORT_START",
    "NAME",
    "ENV_path",
)


@pytest.mark.parametrize("service", ["", "DEMO_", "URL_", "8_", "PORT_DEMO_"])
def test_variables_of_a_service_are_no_settings(service: str) -> None:
    """Variables of Kubernetes and Docker add no line, for any service name with our prefix."""
    environ = {f"GUNICORN_BACKLOG_{service}{link}": "80" for link in LINKS}
    assert load(Cfg(), {}, environ) == Settings()


def test_unknown_variables_are_named_in_one_line() -> None:
    """Unknown variables raise nothing. The line has a bounded length."""
    names = ("INTERVALL", "", "PORT_80_QUIC", "interval", "SERVICE", "A" * 1000, "X", "Y")
    environ = {f"GUNICORN_BACKLOG_{name}": "1" for name in names}
    (line,) = load(Cfg(), {}, environ | {"GUNICORN_BACKLOGGER": "1"}).unusable
    first = "there is no setting GUNICORN_BACKLOG_, GUNICORN_BACKLOG_AAA"
    assert line.startswith(first)
    assert "AAA..., GUNICORN_BACKLOG_INTERVALL, " in line
    assert " and 3 more (settings: GUNICORN_BACKLOG_ENABLED, " in line
    assert len(line) < 500


def test_wrong_settings_of_datadog_and_gunicorn_are_ignored() -> None:
    """A wrong variable of Datadog does not stop gunicorn: the next source applies."""
    environ = {"DD_DOGSTATSD_URL": "tcp://x:1", "DD_DOGSTATSD_PORT": "0"}
    loaded = load(Cfg(statsd_host=("four", 4)), {}, environ)
    assert loaded.address.host == "four"
    assert loaded.unusable == (
        "DD_DOGSTATSD_URL='tcp://x:1': the scheme is 'tcp'",
        "DD_DOGSTATSD_PORT='0': no port from 1 to 65535",
    )
    loaded = load(Cfg(), {}, environ | {"DD_AGENT_HOST": "three"})
    assert str(loaded.address) == "udp://three:8125"
    loaded = load(Cfg(statsd_host="relative.sock"), {}, {})
    assert loaded.unusable == (
        "statsd_host='relative.sock': the path is not absolute (three slashes)",
    )


def test_gunicorns_prefix_and_tags() -> None:
    """gunicorn's own prefix and tags apply to our metrics."""
    cfg = Cfg(statsd_prefix="my.app.", dogstatsd_tags="a:1,b:2")
    loaded = load(cfg, {}, {"DD_TAGS": "c:3 d:4"})
    assert loaded.prefix == "my.app"
    assert loaded.inherited_tags == ("c:3", "d:4", "a:1", "b:2")


@pytest.mark.parametrize(
    ("statsd_prefix", "prefix"),
    [
        ("9lives.app", "lives.app"),
        ("2.my.app.", "my.app"),
        ("_app", "app"),
        ("app 9", "app_9"),
        ("99", ""),
    ],
)
def test_a_prefix_that_datadog_accepts(statsd_prefix: str, prefix: str) -> None:
    """Metric names start with a letter: the Agent drops all characters before the first one."""
    assert load(Cfg(statsd_prefix=statsd_prefix), {}, {}).prefix == prefix


@pytest.mark.parametrize("name", ["DD_DOGSTATSD_URL", "DD_AGENT_HOST", "DD_DOGSTATSD_PORT"])
def test_a_long_variable_of_datadog_is_a_short_line(name: str) -> None:
    """The server info holds 16 KiB: with longer lines it loses all warnings."""
    (line,) = load(Cfg(), {}, {name: "\u00e9" * 50_000}).unusable
    assert line.startswith(f"{name}='")
    assert len(line) <= 1000


def test_the_reason_of_a_long_value_is_short() -> None:
    """The reason repeats the host."""
    with pytest.raises(ConfigError) as error:
        load(Cfg(), {}, {"GUNICORN_BACKLOG_URL": f"udp://{'a' * 50_000}"})
    assert len(str(error.value)) < 500
