"""configure(): its signature, which arguments are kept for how long, and its errors."""

from __future__ import annotations

import inspect
import sys
import typing
from types import ModuleType
from typing import Any

import pytest

import gunicorn_backlog
from gunicorn_backlog import ConfigError
from gunicorn_backlog.config import configure as configuring
from gunicorn_backlog.config.configure import CONFIG_MODULE, Configured
from gunicorn_backlog.config.options import OPTIONS
from gunicorn_backlog.config.settings import load
from tests.lab.fake_arbiter import Cfg


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Configured:
    """Return fresh state, as in a gunicorn that starts."""
    fresh = Configured()
    monkeypatch.setattr(configuring, "configured", fresh)
    return fresh


MODULES = {name: ModuleType(name) for name in (CONFIG_MODULE, "base")}


def configure(*positional: Any, module: str | ModuleType = CONFIG_MODULE, **given: Any) -> None:
    """Call configure() from a module, or from the one of that name."""
    caller = MODULES[module] if isinstance(module, str) else module
    vars(caller).update(positional=positional, given=given)
    program = "from gunicorn_backlog import configure; configure(*positional, **given)"
    exec(program, vars(caller))


def take(configured: Configured) -> dict[str, object]:
    """Return the arguments, as the arbiter does when it loads the settings."""
    values = configured.values
    configured.mark_loaded()
    return values


def test_calls_add_up(configured: Configured) -> None:
    """Two calls in one config make two settings; the later value of a name wins, None included."""
    configure(interval=2, samples=3)
    configure(interval=4, tags=iter(["a:b"]))
    assert take(configured) == {"interval": 4, "samples": 3, "tags": ["a:b"]}
    configure(interval=4)
    configure(interval=None)
    assert load(Cfg(), take(configured), {}).interval_s == 1


def test_a_second_hup_drops_what_was_not_loaded_of_the_first(configured: Configured) -> None:
    """gunicorn runs the file again, in a new module, before the first settings are loaded."""
    configure(interval=5, module="base")
    configure(interval=2, samples=3)
    second = ModuleType(CONFIG_MODULE)
    configure(samples=4, module=second)
    configure(tags=["a:b"], module=second)
    assert take(configured) == {"interval": 5, "samples": 4, "tags": ["a:b"]}


def test_a_second_hup_without_configure(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run of the file has no settings: those of the first are not its own."""
    first, second = ModuleType(CONFIG_MODULE), ModuleType(CONFIG_MODULE)
    monkeypatch.setitem(sys.modules, CONFIG_MODULE, first)
    configure(samples=3, module="base")
    configure(interval=2, module=first)
    assert configured.values == {"samples": 3, "interval": 2}
    monkeypatch.setitem(sys.modules, CONFIG_MODULE, second)
    assert take(configured) == {"samples": 3}


def test_a_config_file_begins_anew(configured: Configured) -> None:
    """gunicorn runs the file again on HUP; a setting that is then absent has its default."""
    configure(interval=2)
    assert take(configured) == {"interval": 2}
    assert take(configured) == {}


def test_settings_of_an_imported_module_stay(configured: Configured) -> None:
    """HUP does not run an imported module again. The config file takes precedence over it."""
    configure(interval=2, samples=3, module="base")
    configure(samples=4)
    assert take(configured) == {"interval": 2, "samples": 4}
    assert take(configured) == {"interval": 2, "samples": 3}
    configure(interval=5, module="base")
    assert take(configured) == {"interval": 5, "samples": 3}


def test_it_raises_at_the_start_only(configured: Configured) -> None:
    """After a HUP configure() raises nothing, so that gunicorn goes on: load() raises."""
    with pytest.raises(ConfigError, match=r"^gunicorn_backlog: samples=0; allowed: a whole"):
        configure(samples=0)
    take(configured)
    configure(samples=0)
    with pytest.raises(ConfigError, match="samples=0"):
        load(Cfg(), take(configured), {})


class Strange:
    """A value whose repr raises."""

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
        ({"metrics": [1]}, "metrics=[1]"),
        ({"metrics": iter(["x" * 1000])}, "there is no group 'xxx"),
        ({"intervall": None}, "'intervall'"),
        ({"url": "udp://..:8125"}, "'..' is no host name"),
        ({"url": f"udp://{'.'.join(['x' * 60] * 5)}"}, "longer than 253"),
    ],
)
def test_an_error_is_one_short_line(given: dict[str, Any], shown: str) -> None:
    """Each error quotes the value on one line without control characters."""
    with pytest.raises(ConfigError) as raised:
        configure(**given)
    message = str(raised.value)
    assert shown in message
    assert message.isprintable()
    assert "; allowed: " in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("positional", "given", "wrong"),
    [((1.0,), {}, r"'1\.0 without a name'"), ((), {"intervall": 2}, "'intervall'")],
)
def test_an_argument_that_does_not_bind(
    positional: tuple[object, ...], given: dict[str, Any], wrong: str, configured: Configured
) -> None:
    """A positional argument and an unknown name are a ConfigError; after a HUP load() raises it."""
    message = f"^gunicorn_backlog: .* no setting {wrong}; allowed: enabled,"
    with pytest.raises(ConfigError, match=message):
        configure(*positional, **given)
    take(configured)
    configure(*positional, **given)
    with pytest.raises(ConfigError, match=message):
        load(Cfg(), take(configured), {})


def test_the_signature_is_real() -> None:
    """``inspect``, ``help`` and editors show each option of ``config.options`` by name."""
    parameters = inspect.signature(gunicorn_backlog.configure).parameters
    assert list(parameters) == list(OPTIONS)
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert typing.get_type_hints(gunicorn_backlog.configure)["interval"] == float | None
