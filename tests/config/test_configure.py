"""configuring: what configure() keeps, for how long, and how it complains."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from gunicorn_backlog import ConfigError
from gunicorn_backlog.config import configure as configuring
from gunicorn_backlog.config.configure import RUN_AGAIN, Configured
from gunicorn_backlog.config.settings import load
from tests.lab.fake_arbiter import Cfg


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Configured:
    """Let each test be a gunicorn that starts."""
    fresh = Configured()
    monkeypatch.setattr(configuring, "configured", fresh)
    return fresh


def configure(*positional: Any, module: str = RUN_AGAIN, **given: Any) -> None:
    """Call configure() from a module of that name, as gunicorn's config file is one."""
    caller = ModuleType(module)
    vars(caller).update(positional=positional, given=given)
    program = "from gunicorn_backlog import configure; configure(*positional, **given)"
    exec(program, vars(caller))


def take(configured: Configured) -> dict[str, object]:
    """Return what was said until now, as when the settings are loaded."""
    values = configured.values
    configured.mark_loaded()
    return values


def test_calls_add_up(configured: Configured) -> None:
    """Two calls in one config make two settings; the later one of the same wins."""
    configure(interval=2, samples=3)
    configure(interval=4, tags=iter(["a:b"]))
    assert take(configured) == {"interval": 4, "samples": 3, "tags": ["a:b"]}


def test_a_config_file_begins_anew(configured: Configured) -> None:
    """gunicorn runs it again on HUP: what it does not say then is at its default."""
    configure(interval=2)
    assert take(configured) == {"interval": 2}
    assert take(configured) == {}


def test_what_an_imported_module_said_stays(configured: Configured) -> None:
    """It is imported once for all: HUP does not run it again. The config file has the last word."""
    configure(interval=2, samples=3, module="base")
    configure(samples=4)
    assert take(configured) == {"interval": 2, "samples": 4}
    assert take(configured) == {"interval": 2, "samples": 3}
    configure(interval=5, module="base")
    assert take(configured) == {"interval": 5, "samples": 3}


def test_it_raises_at_the_start_only(configured: Configured) -> None:
    """A server that serves is not stopped by the config of a HUP: load() tells."""
    with pytest.raises(ConfigError, match=r"^gunicorn_backlog: samples=0; allowed: a whole"):
        configure(samples=0)
    take(configured)
    configure(samples=0)
    with pytest.raises(ConfigError, match="samples=0"):
        load(Cfg(), take(configured), {})


class Strange:
    """A value whose repr is of no help."""

    def __repr__(self) -> str:
        """Raise."""
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"backlog_type": "x" * 1000}, "backlog_type='xxx"),
        ({"backlog_type": "a\nb"}, r"backlog_type='a\nb'"),
        ({"interval": 10**400}, "interval=1000"),
        ({"interval": -(10**400)}, "interval=-1000"),
        ({"samples": 10**6000}, "samples=a int"),
        ({"samples": Strange()}, "samples=a Strange"),
        ({"tags": b"a:b"}, "tags=b'a:b'"),
        ({"tags": {"a": "b"}}, "tags={'a': 'b'}"),
        ({"tags": [1]}, "tags=[1]"),
        ({"intervall": None}, "'intervall'"),
        ({"url": "udp://..:8125"}, "'..' is no host name"),
        ({"url": f"udp://{'.'.join(['x' * 60] * 5)}"}, "longer than 253"),
    ],
)
def test_an_error_is_one_short_line(given: dict[str, Any], shown: str) -> None:
    """Whatever the value is, it is named, on one line without control characters."""
    with pytest.raises(ConfigError) as raised:
        configure(**given)
    message = str(raised.value)
    assert shown in message
    assert message.isprintable()
    assert "; allowed: " in message
    assert len(message) < 500


def test_a_value_without_a_name(configured: Configured) -> None:
    """It is told as other mistakes are."""
    with pytest.raises(ConfigError, match=r"no setting '1\.0 without a name'; allowed: enabled,"):
        configure(1.0)
