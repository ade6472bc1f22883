"""Accounts of people: the command line and the store behind it."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner

from service import users_cli
from service.errors import (
    ConflictError,
    InvalidFieldError,
    NotFoundError,
    StoppressError,
    UnauthenticatedError,
    UnavailableError,
)
from service.store.keys import USERS
from service.store.users import User, Users
from tests.integration.harness import COMMAND, DEADLINE_SECONDS, Service, now_ms

PASSWORD = "correct horse battery"
ANOTHER = "another battery staple"
WEAK = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


@pytest.fixture
def users(service: Service) -> Users:
    service.redis.delete(USERS)
    return Users(service.redis)


def typed(service: Service, *arguments: str, given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "users", *arguments],
        env=service.env(),
        input=given,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def test_a_user_is_made_listed_disabled_and_removed_by_command(service: Service, users: Users) -> None:
    made = typed(service, "add", "anna", "--role", "editor", "-e", "ar", "--password-stdin", given=PASSWORD + "\n")
    assert made.returncode == 0, made.stderr
    assert users.authenticate("anna", PASSWORD).account.editions == ("ar",)
    listed = service.command("users", "list").stdout
    assert "anna" in listed
    assert "editor" in listed
    assert "ar" in listed
    assert "argon2" not in listed
    assert service.command("users", "role", "anna", "chief").returncode == 0
    assert users.authenticate("anna", PASSWORD).role == "chief"
    assert service.command("users", "disable", "anna").returncode == 0
    with pytest.raises(UnauthenticatedError):
        users.authenticate("anna", PASSWORD)
    assert "disabled" in service.command("users", "list").stdout
    assert service.command("users", "enable", "anna").returncode == 0
    assert typed(service, "password", "anna", "--password-stdin", given="another battery staple\n").returncode == 0
    assert users.authenticate("anna", "another battery staple").name == "anna"
    assert service.command("users", "remove", "anna").returncode == 0
    assert users.listed() == []


def test_a_generated_password_is_printed_once_and_works(service: Service, users: Users) -> None:
    made = service.command("users", "add", "ben", "--role", "contributor", "--generate")
    assert made.returncode == 0, made.stderr
    assert users.authenticate("ben", made.stdout.strip()).role == "contributor"


def test_the_link_is_of_this_service_and_works_once(service: Service) -> None:
    made = service.command("users", "link")
    assert made.returncode == 0, made.stderr
    address, _, ticket = made.stdout.strip().partition("?ticket=")
    assert address == f"http://127.0.0.1:{service.port}/desk/sign-in"
    assert service.http.post("/desk/sign-in", data={"ticket": ticket}).status_code == 303
    service.http.cookies.clear()
    assert service.http.post("/desk/sign-in", data={"ticket": ticket}).status_code == 401


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        (("add", "x", "--role", "editor", "--password-stdin"), "short\n", "expected a password of 12 to 256"),
        (("add", "x", "--role", "editor", "-e", "fr", "--password-stdin"), PASSWORD, "expected one of the editions"),
        (("add", "x", "--role", "editor", "--password-stdin", "--generate"), PASSWORD, "got both"),
        (("add", "", "--role", "editor", "--password-stdin"), PASSWORD, "expected a name of 1 to 64"),
        (("password", "nobody", "--password-stdin"), PASSWORD, "expected the name of a user, got 'nobody'"),
        (("disable", "nobody"), "", "expected the name of a user"),
        (("remove", "nobody"), "", "expected the name of a user"),
    ],
)
def test_what_will_not_do_is_one_clear_line(
    service: Service, users: Users, arguments: tuple[str, ...], given: str, said: str
) -> None:
    refused = typed(service, *arguments, given=given)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert users.listed() == []


@pytest.mark.parametrize("name", ["clock", "Local"])
def test_nobody_has_a_name_by_which_the_service_itself_acts(service: Service, users: Users, name: str) -> None:
    with pytest.raises(ConflictError, match="none of the service's own"):
        users.add(name, "editor", PASSWORD, now_ms())
    with pytest.raises(ConflictError, match="none of the service's own"):
        service.add_key(name, "editor")


def test_nobody_can_pose_as_another_by_the_case_of_a_letter(users: Users) -> None:
    users.add("Anna", "editor", PASSWORD, now_ms())
    with pytest.raises(ConflictError, match="'anna'"):
        users.add(" anna ", "chief", PASSWORD, now_ms())
    assert users.authenticate("ANNA", PASSWORD).name == "Anna"


def test_one_password_is_the_same_however_its_letters_are_composed(users: Users) -> None:
    users.add("ana", "editor", "caf\u00e9 con leche", now_ms())
    assert users.authenticate("ana", "cafe\u0301 con leche").name == "ana"


def test_an_unknown_name_costs_the_work_of_a_known_one(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    users.add("anna", "editor", PASSWORD, now_ms())
    verified: list[str] = []
    verify = type(users._hasher).verify

    def count(self: object, hashed: str, password: str) -> bool:
        verified.append(hashed)
        return verify(users._hasher, hashed, password)

    monkeypatch.setattr(type(users._hasher), "verify", count)
    for name in ("anna", "nobody"):
        with pytest.raises(UnauthenticatedError):
            users.authenticate(name, "not the password")
    assert len(verified) == 2
    assert all(hashed.startswith("$argon2id$") for hashed in verified)
    assert verified[0].split("$")[3] == verified[1].split("$")[3], "with the same parameters"


def test_a_hash_of_older_parameters_is_renewed_at_the_next_sign_in(users: Users) -> None:
    users.add("anna", "editor", PASSWORD, now_ms())
    weak = Users(users._redis)
    weak._hasher = WEAK
    weak.set_password("anna", PASSWORD)
    before = users.find("anna")
    users.authenticate("anna", PASSWORD)
    after = users.find("anna")
    assert before is not None
    assert after is not None
    assert "m=1024" in before.password
    assert "m=1024" not in after.password


def test_no_repr_and_no_key_in_redis_shows_a_password(users: Users) -> None:
    user = users.add("anna", "editor", PASSWORD, now_ms())
    assert "argon2" not in repr(user)
    assert PASSWORD not in repr(users._redis.hgetall(USERS))


def test_a_role_that_nobody_at_a_desk_has_is_refused(users: Users) -> None:
    with pytest.raises(InvalidFieldError, match="contributor, editor, chief"):
        users.add("wire", "ingest", PASSWORD, now_ms())
    with pytest.raises(NotFoundError):
        users.set_role("nobody", "editor")


def test_a_role_that_nobody_at_a_desk_has_is_not_given_later_either(users: Users) -> None:
    users.add("anna", "editor", PASSWORD, now_ms())
    with pytest.raises(InvalidFieldError, match="contributor, editor, chief"):
        users.set_role("anna", "ingest")
    assert [user.role for user in users.listed()] == ["editor"]


def test_unknown_wrong_and_disabled_are_refused_in_the_same_words(users: Users) -> None:
    users.add("anna", "editor", PASSWORD, now_ms())
    users.add("ben", "editor", PASSWORD, now_ms())
    users.set_disabled("ben", True)
    said = set()
    for name, password in (("nobody", PASSWORD), ("anna", ANOTHER), ("ben", PASSWORD), ("ben", ANOTHER)):
        with pytest.raises(UnauthenticatedError) as refused:
            users.authenticate(name, password)
        said.add(str(refused.value))
    assert len(said) == 1


def test_no_error_shows_a_password(users: Users) -> None:
    users.add("anna", "editor", PASSWORD, now_ms())
    short, long = "hunter2", "hunter2" * 40
    attempts: list[Callable[[], object]] = [
        lambda: users.add("ben", "editor", short, now_ms()),
        lambda: users.add("ben", "editor", long, now_ms()),
        lambda: users.set_password("anna", short),
        lambda: users.set_password("nobody", "hunter2 hunter2"),
        lambda: users.add("anna", "editor", "hunter2 hunter2", now_ms()),
        lambda: users.authenticate("anna", short),
    ]
    for attempt in attempts:
        with pytest.raises(StoppressError) as refused:
            attempt()
        assert "hunter2" not in repr(refused.value) + str(refused.value)
        assert "argon2" not in repr(refused.value) + str(refused.value)


@pytest.mark.parametrize("length", [12, 256])
def test_a_password_of_12_to_256_characters_will_do(users: Users, length: int) -> None:
    users.add("anna", "editor", "x" * length, now_ms())
    assert users.authenticate("anna", "x" * length).name == "anna"


@pytest.mark.parametrize("length", [0, 11, 257])
def test_a_shorter_or_longer_password_will_not(users: Users, length: int) -> None:
    with pytest.raises(InvalidFieldError, match=f"12 to 256 characters, got {length}"):
        users.add("anna", "editor", "x" * length, now_ms())
    assert users.listed() == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "an\x00na", "an\nna", "an\x7fna", "an\u202ena"])
def test_a_name_that_will_not_do_is_refused(users: Users, name: str) -> None:
    with pytest.raises(InvalidFieldError, match="expected a name of 1 to 64 printable characters"):
        users.add(name, "editor", PASSWORD, now_ms())
    assert users.listed() == []


def test_a_name_of_64_characters_will_do_and_is_trimmed(users: Users) -> None:
    assert users.add(f" {'x' * 64} ", "editor", PASSWORD, now_ms()).name == "x" * 64


def test_one_name_is_the_same_however_its_letters_are_composed(users: Users) -> None:
    users.add("Zoe\u0308", "editor", PASSWORD, now_ms())
    with pytest.raises(ConflictError):
        users.add("zo\u00eb", "editor", PASSWORD, now_ms())
    found = users.find("ZO\u00cb")
    assert found is not None
    assert found.name == "Zo\u00eb"


def test_users_are_listed_by_name(users: Users) -> None:
    users._hasher = WEAK
    for name in ("carl", "Anna", "ben"):
        users.add(name, "editor", PASSWORD, now_ms())
    assert [user.name for user in users.listed()] == ["Anna", "ben", "carl"]


def test_of_several_who_take_a_name_at_once_one_gets_it(users: Users) -> None:
    users._hasher = WEAK

    def take(number: int) -> bool:
        try:
            users.add("anna", "editor", f"{PASSWORD} {number}", now_ms())
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 1


def test_no_change_is_lost_to_another_at_the_same_time(users: Users) -> None:
    users._hasher = WEAK
    for _ in range(20):
        users.add("anna", "editor", PASSWORD, now_ms())
        changes: list[Callable[[], object]] = [
            lambda: users.set_role("anna", "chief"),
            lambda: users.set_disabled("anna", True),
            lambda: users.set_password("anna", ANOTHER),
        ]
        with ThreadPoolExecutor(len(changes)) as pool:
            for done in [pool.submit(change) for change in changes]:
                done.result(DEADLINE_SECONDS)
        after = users.find("anna")
        assert after is not None
        assert after.role == "chief"
        assert after.disabled
        assert WEAK.verify(after.password, ANOTHER)
        users.remove("anna")


@pytest.mark.parametrize("change", ["password", "disabled", "removed"])
def test_renewing_a_hash_undoes_no_change_made_meanwhile(users: Users, change: str) -> None:
    weak = Users(users._redis)
    weak._hasher = WEAK
    weak.add("anna", "editor", PASSWORD, now_ms())

    class Meanwhile(PasswordHasher):
        """Somebody changes the user between the check of the old password and its renewal."""

        def check_needs_rehash(self, hash: str | bytes) -> bool:  # noqa: A002 - the library's name
            if change == "password":
                weak.set_password("anna", ANOTHER)
            elif change == "disabled":
                weak.set_disabled("anna", True)
            else:
                weak.remove("anna")
            return super().check_needs_rehash(hash)

    users._hasher = Meanwhile()
    with pytest.raises(UnauthenticatedError):
        users.authenticate("anna", PASSWORD)
    after = users.find("anna")
    if change == "removed":
        assert after is None
    else:
        assert after is not None
        assert after.disabled == (change == "disabled")
        assert WEAK.verify(after.password, ANOTHER if change == "password" else PASSWORD)


def test_the_hash_of_nobody_is_made_when_it_is_first_needed(users: Users) -> None:
    assert "_nobodys" not in vars(users)
    with pytest.raises(UnauthenticatedError):
        users.authenticate("nobody", PASSWORD)
    assert "_nobodys" in vars(users)


def test_a_password_is_asked_for_twice_and_not_shown(service: Service, users: Users) -> None:
    asked = CliRunner(env=service.env()).invoke(
        users_cli.users,
        ["add", "anna", "--role", "editor"],
        input=f"{PASSWORD}\n{ANOTHER}\n{PASSWORD}\n{PASSWORD}\n",
    )
    assert asked.exit_code == 0, asked.output
    assert PASSWORD not in asked.output
    assert ANOTHER not in asked.output
    assert users.authenticate("anna", PASSWORD).name == "anna"


def test_a_change_that_others_forestall_each_time_gives_up_and_says_so(users: Users) -> None:
    users.add("anna", "editor", PASSWORD, now_ms())
    tries = 0

    def forestalled(user: User) -> User:
        nonlocal tries
        tries += 1
        users._redis.hset(USERS, "other", str(tries))
        return user

    with pytest.raises(UnavailableError, match="within 100 tries"):
        users._edit("anna", forestalled)
    assert tries == 100
