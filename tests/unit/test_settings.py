"""Settings: what the environment says."""

import contextlib
import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SettingsError
from service.settings import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({})
    assert dataclasses.replace(settings, web_processes=1) == Settings()
    assert settings.web_processes >= 1


def test_every_setting_is_read() -> None:
    settings = Settings.from_env(
        {
            "STOPPRESS_HOST": "0.0.0.0",
            "STOPPRESS_PORT": "9000",
            "STOPPRESS_DATA": "/var/stoppress",
            "STOPPRESS_REDIS_URL": "redis://:secret@db:6380/1",
            "STOPPRESS_QUEUE_URL": "unix:///run/redis.sock",
            "STOPPRESS_ADMIN_KEY": "sp_12345678",
            "STOPPRESS_EDITIONS": "editions.toml",
            "STOPPRESS_WEB_PROCESSES": "3",
            "STOPPRESS_ALLOWED_ORIGINS": "https://News.example/ , http://localhost:3000",
            "STOPPRESS_MAX_READERS": "7",
            "STOPPRESS_MAX_READERS_PER_ADDRESS": "2",
            "STOPPRESS_MAX_CONNECTIONS": "50",
            "STOPPRESS_MAX_CONNECTS_PER_ADDRESS": "0",
            "STOPPRESS_MAX_MESSAGES_PER_READER": "9",
            "STOPPRESS_REQUEST_SECONDS": "2.5",
            "STOPPRESS_TRUSTED_ADDRESSES": "10.0.0.1/8, ::1",
            "STOPPRESS_DRAIN_SECONDS": "0.5",
            "STOPPRESS_LOG_LEVEL": "DEBUG",
            "STOPPRESS_LOG_FORMAT": "json",
            "STOPPRESS_PUBLIC_URL": "https://desk.example:8443/",
        }
    )
    assert (settings.host, settings.port, settings.data) == ("0.0.0.0", 9000, Path("/var/stoppress"))
    assert settings.redis_url == "redis://:secret@db:6380/1"
    assert settings.queue_url == "unix:///run/redis.sock"
    assert settings.admin_key == "sp_12345678"
    assert settings.editions == Path("editions.toml")
    assert (settings.web_processes, settings.max_readers, settings.max_readers_per_address) == (3, 7, 2)
    assert (settings.max_connections, settings.max_connects_per_address) == (50, 0)
    assert (settings.max_messages_per_reader, settings.request_seconds) == (9, 2.5)
    assert settings.allowed_origins == ("https://news.example", "http://localhost:3000")
    assert [str(network) for network in settings.trusted_addresses] == ["10.0.0.0/8", "::1/128"]
    assert settings.drain_seconds == 0.5
    assert (settings.log_level, settings.log_format) == ("debug", "json")
    assert settings.public_url == "https://desk.example:8443"


def test_an_empty_variable_is_as_none_at_all() -> None:
    names = [
        "HOST",
        "PORT",
        "DATA",
        "REDIS_URL",
        "QUEUE_URL",
        "ADMIN_KEY",
        "EDITIONS",
        "WEB_PROCESSES",
        "ALLOWED_ORIGINS",
    ]
    names += ["MAX_CONNECTIONS", "MAX_CONNECTS_PER_ADDRESS", "MAX_MESSAGES_PER_READER", "REQUEST_SECONDS"]
    names += ["MAX_READERS", "MAX_READERS_PER_ADDRESS", "DRAIN_SECONDS", "LOG_LEVEL", "LOG_FORMAT", "PUBLIC_URL"]
    assert Settings.from_env({f"STOPPRESS_{name}": "" for name in names}) == Settings.from_env({})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", (0.0, 5.0, 5.0, 5.0)),
        ("10", (0.0, 10.0, 10.0, 10.0)),
        ("0", (0.0, 0.0, 0.0, 0.0)),
        ("2, 3,4.5,300", (2.0, 3.0, 4.5, 300.0)),
    ],
)
def test_a_flash_is_held_only_where_its_own_seconds_are_given(text: str, seconds: tuple[float, ...]) -> None:
    assert Settings.from_env({"STOPPRESS_UNDO_SECONDS": text}).undo_seconds == seconds


def test_all_readers_and_the_calls_beside_them_may_come_at_once() -> None:
    assert Settings.from_env({"STOPPRESS_MAX_READERS": "100"}).max_connections == 4_100
    assert Settings.from_env({}).max_connections == Settings().max_connections


def test_plain_port_counts_where_ours_is_not_set() -> None:
    assert Settings.from_env({"PORT": "5000"}).port == 5000
    assert Settings.from_env({"PORT": "5000", "STOPPRESS_PORT": "0"}).port == 0
    with pytest.raises(SettingsError, match=r"^PORT: expected a whole number from 0 to 65535, got 'x'"):
        Settings.from_env({"PORT": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "8000.5"),
        ("WEB_PROCESSES", "0"),
        ("MAX_READERS", "many"),
        ("MAX_READERS", "0"),
        ("MAX_READERS_PER_ADDRESS", "-1"),
        ("MAX_CONNECTIONS", "0"),
        ("MAX_CONNECTS_PER_ADDRESS", "-1"),
        ("MAX_MESSAGES_PER_READER", "0"),
        ("REQUEST_SECONDS", "0"),
        ("REQUEST_SECONDS", "nan"),
        ("DRAIN_SECONDS", "-0.1"),
        ("DRAIN_SECONDS", "nan"),
        ("DRAIN_SECONDS", "inf"),
        ("UNDO_SECONDS", "-1"),
        ("UNDO_SECONDS", "nan"),
        ("UNDO_SECONDS", "301"),
        ("UNDO_SECONDS", "0,5"),
        ("UNDO_SECONDS", "0,5,5,5,5"),
        ("UNDO_SECONDS", "soon"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://["),
        ("REDIS_URL", "redis://db:port"),
        ("QUEUE_URL", "amqp://db"),
        ("ADMIN_KEY", "short"),
        ("ADMIN_KEY", "with a space"),
        ("ADMIN_KEY", "schlüssel1"),
        ("ALLOWED_ORIGINS", "news.example"),
        ("ALLOWED_ORIGINS", "https://news.example/path"),
        ("ALLOWED_ORIGINS", "https://news.example?x"),
        ("ALLOWED_ORIGINS", "https://ann@news.example"),
        ("ALLOWED_ORIGINS", "https://["),
        ("ALLOWED_ORIGINS", "ftp://news.example"),
        ("PUBLIC_URL", "desk.example"),
        ("PUBLIC_URL", "https://desk.example/path"),
        ("PUBLIC_URL", "https://ann@desk.example"),
        ("PUBLIC_URL", "https://desk.example\\@evil.example"),
        ("PUBLIC_URL", "javascript:alert(1)"),
        ("TRUSTED_ADDRESSES", "proxy"),
        ("TRUSTED_ADDRESSES", "10.0.0.0/33"),
    ],
)
def test_a_wrong_value_is_refused_by_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^STOPPRESS_{name}: expected"):
        Settings.from_env({f"STOPPRESS_{name}": value})


@pytest.mark.parametrize("url", ["http://:hunter2@db", "redis://:hunter2@[", "redis://:hunter2@db:port"])
def test_a_refusal_does_not_repeat_a_password(url: str) -> None:
    for env in ({"STOPPRESS_REDIS_URL": url}, {"STOPPRESS_ADMIN_KEY": "hunter2"}):
        with pytest.raises(SettingsError) as refusal:
            Settings.from_env(env)
        assert "hunter2" not in refusal.value.detail


@pytest.mark.parametrize(
    ("trusted", "address", "believed"),
    [
        (None, "127.0.0.1", True),
        (None, "127.8.8.8", True),
        (None, "::1", True),
        (None, "::ffff:127.0.0.1", True),
        (None, "::ffff:8.8.8.8", False),
        (None, "8.8.8.8", False),
        (None, "unix", False),
        (None, "", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "127.0.0.1", False),
        ("", "127.0.0.1", False),
    ],
)
def test_only_the_listed_proxies_are_believed(trusted: str | None, address: str, believed: bool) -> None:
    env = {} if trusted is None else {"STOPPRESS_TRUSTED_ADDRESSES": trusted}
    assert Settings.from_env(env).trusts(address) is believed


def test_without_a_redis_the_message_says_what_starts_one() -> None:
    with pytest.raises(SettingsError, match="stoppress up"):
        Settings().require_redis_url()
    assert Settings(redis_url="redis://db").require_redis_url() == "redis://db"


def test_the_editions_file_is_read_or_said_to_be_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "editions.toml"
    assert Settings().read_editions() is None
    with pytest.raises(SettingsError, match=r"editions\.toml cannot be read"):
        Settings(editions=file).read_editions()
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"editions\.toml cannot be read"):
        Settings(editions=file).read_editions()
    file.write_text("[editions.en]\nname = 'العربية'", encoding="utf-8")
    assert Settings(editions=file).read_editions() == "[editions.en]\nname = 'العربية'"


@given(
    st.dictionaries(st.sampled_from(["STOPPRESS_PORT", "STOPPRESS_REDIS_URL", "STOPPRESS_ALLOWED_ORIGINS"]), st.text())
)
def test_no_environment_brings_the_reader_down(env: dict[str, str]) -> None:
    with contextlib.suppress(SettingsError):
        Settings.from_env(env)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores")
def test_a_web_process_for_each_core_that_may_be_used() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert Settings.from_env({}).web_processes == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert Settings.from_env({}).web_processes == len(allowed)
