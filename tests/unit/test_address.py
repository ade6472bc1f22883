import pytest

from service.address import Address
from service.errors import SettingsError
from service.settings import Settings

SENTINEL = "redis+sentinel://127.0.0.1:26379/news"
CLUSTER = "redis+cluster://127.0.0.1:7000"


def test_a_single_redis_is_left_to_the_client_library() -> None:
    for url in ("redis://db", "rediss://:secret@db:6380/1?ssl_ca_certs=/x", "unix:///run/redis.sock"):
        assert (Address.parse(url).engine, Address.parse(url).url) == ("single", url)


def test_a_sentinel_service_has_hosts_a_name_and_a_database() -> None:
    address = Address.parse("redis+sentinel://one,[::1]:26380,three:1/news/3")
    assert address.engine == "sentinel"
    assert address.hosts == (("one", 26379), ("::1", 26380), ("three", 1))
    assert address.service == "news"
    assert address.login == {"username": None, "password": None, "db": 3}
    assert address.guide == {"username": None, "password": None}
    assert address.where == "one:26379,[::1]:26380,three:1/news"


def test_sentinels_have_a_password_of_their_own() -> None:
    address = Address.parse("rediss+sentinel://ann:p%40ss@one:26379/news?sentinel_password=s%26t&ssl_ca_certs=/ca.pem")
    shared = {"ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert address.login == {**shared, "username": "ann", "password": "p@ss", "db": 0}
    assert address.guide == {**shared, "username": None, "password": "s&t"}


def test_a_cluster_has_nodes_that_all_take_the_same_password() -> None:
    address = Address.parse("redis+cluster://:secret@one,two:7001")
    assert (address.engine, address.hosts) == ("cluster", (("one", 6379), ("two", 7001)))
    assert address.login["password"] == address.guide["password"] == "secret"
    assert address.where == "one:6379,two:7001"


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://:hunter2@one:26379",
        "redis+sentinel://:hunter2@one:26379/",
        "redis+sentinel://:hunter2@/news",
        "redis+sentinel://:hunter2@one,,two/news",
        "redis+sentinel://:hunter2@one:port/news",
        "redis+sentinel://:hunter2@one:0/news",
        "redis+sentinel://:hunter2@one:99999/news",
        "redis+sentinel://:hunter2@one/news/first",
        "redis+sentinel://:hunter2@one/news/0/1",
        "redis+sentinel://:hunter2@one/news?password=hunter2",
        "redis+sentinel://:hunter2@one/news?ssl_ca_certs=/ca.pem",
        "redis+sentinel://:hunter2@one/news#hunter2",
        "redis+sentinel://:hunter2@[::1/news",
        "redis+cluster://:hunter2@one/0",
        "redis+cluster://:hunter2@one/news",
        "redis+cluster://",
        "redis+cluster://:hunter2@one?sentinel_password=hunter2",
        "redis+ring://:hunter2@one",
        "hunter2",
        "hunter2://",
    ],
)
@pytest.mark.parametrize("name", ["STOPPRESS_REDIS_URL", "STOPPRESS_QUEUE_URL"])
def test_a_wrong_url_is_one_line_that_names_the_setting_and_shows_no_password(name: str, url: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({"STOPPRESS_REDIS_URL": "redis://db", name: url})
    said = refusal.value.detail
    assert said.startswith(f"{name}: expected a URL such as redis")
    assert "\n" not in said
    assert ":hunter2" not in said
    assert "=hunter2" not in said


def test_no_repr_shows_a_password() -> None:
    for url in (
        "redis://:hunter2@db",
        "redis+cluster://:hunter2@db",
        "redis+sentinel://db/news?sentinel_password=hunter2",
    ):
        assert "hunter2" not in repr(Address.parse(url)) + Address.parse(url).where


def test_the_queue_runs_on_no_cluster() -> None:
    with pytest.raises(SettingsError, match="STOPPRESS_QUEUE_URL is not set: expected one Redis or a Sentinel service"):
        Settings.from_env({"STOPPRESS_REDIS_URL": CLUSTER})
    with pytest.raises(SettingsError, match="STOPPRESS_QUEUE_URL: expected one Redis or a Sentinel service"):
        Settings.from_env({"STOPPRESS_REDIS_URL": SENTINEL, "STOPPRESS_QUEUE_URL": CLUSTER})
    settings = Settings.from_env({"STOPPRESS_REDIS_URL": CLUSTER, "STOPPRESS_QUEUE_URL": SENTINEL})
    assert (settings.redis_url, settings.queue_url) == (CLUSTER, SENTINEL)


@pytest.mark.parametrize("value", ["-1", "1.5", "all", "101"])
def test_replicas_to_wait_for_are_a_number(value: str) -> None:
    with pytest.raises(SettingsError, match="STOPPRESS_WAIT_REPLICAS: expected a whole number from 0 to 100"):
        Settings.from_env({"STOPPRESS_WAIT_REPLICAS": value})
    assert Settings.from_env({"STOPPRESS_WAIT_REPLICAS": "2"}).wait_replicas == 2
