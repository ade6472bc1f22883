"""Accounts of people: the command line and the store behind it."""

import subprocess

import pytest

from service.errors import ConflictError, InvalidFieldError, NotFoundError, UnauthenticatedError
from service.store.keys import USERS
from service.store.users import Users
from tests.integration.harness import COMMAND, DEADLINE_SECONDS, Service, now_ms

PASSWORD = "correct horse battery"


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
    from argon2 import PasswordHasher

    users.add("anna", "editor", PASSWORD, now_ms())
    weak = Users(users._redis)
    weak._hasher = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
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
