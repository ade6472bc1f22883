"""Architecture: imports point one way, importing does nothing, and names that are given as text resolve."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from service.store.outbox import APPEND_JOB

ROOT = Path(__file__).parent.parent

# What a package may import of the project, itself aside. What is not listed may import nothing of it.
FOUNDATION = {"service.address", "service.errors", "service.provider", "service.settings"}
RUNTIME = FOUNDATION | {"service.histogram", "service.logs", "service.tasks"}
ALLOWED: dict[str, set[str]] = {
    "service.address": set(),
    "service.provider": {"service.errors"},
    "service.settings": {"service.address", "service.errors", "service.provider"},
    "service.errors": set(),
    "service.histogram": set(),
    "service.durability": set(),
    "service.logs": FOUNDATION,
    "service.tasks": set(),
    "service.domain": {"service.errors"},
    "service.store": RUNTIME | {"service.domain"},
    # Editors and readers never meet: each half can be understood, tested and broken alone.
    "service.newsroom": RUNTIME | {"service.domain", "service.store"},
    "service.gateway": RUNTIME | {"service.domain", "service.store"},
    # What a feed says of the lines, and nothing of how they came here.
    "service.syndication": {"service.errors", "service.domain"},
    "service.web": RUNTIME
    | {"service.domain", "service.store", "service.newsroom", "service.gateway", "service.syndication"},
    "service.routes": {"service.gateway", "service.newsroom", "service.web"},
    "service.app": RUNTIME
    | {
        "service.domain",
        "service.store",
        "service.newsroom",
        "service.gateway",
        "service.syndication",
        "service.web",
        "service.routes",
    },
    # The service seen from outside: these know its words and its addresses, not its insides.
    "service.client": FOUNDATION | {"service.domain"},
    "service.api_client": FOUNDATION,
    "service.tail": FOUNDATION | {"service.domain", "service.client"},
    "service.embedded": FOUNDATION,
    "service.child": FOUNDATION | {"service.embedded"},
    "service.preflight": FOUNDATION | {"service.embedded", "service.durability", "service.store"},
    "service.greeting": FOUNDATION,
    "service.up": FOUNDATION | {"service.embedded", "service.child", "service.preflight", "service.greeting"},
    "service.demo": FOUNDATION
    | {"service.domain", "service.api_client", "service.client", "service.tail", "service.up"},
    "service.plan": {"service.errors"},
    # What the commands share.
    "service.here": FOUNDATION | {"service.domain", "service.store"},
    "service.users_cli": FOUNDATION | {"service.domain", "service.store", "service.here"},
    "service.audit_cli": FOUNDATION | {"service.domain", "service.store", "service.here"},
    "service.cli": RUNTIME
    | {
        "service.here",
        "service.audit_cli",
        "service.users_cli",
        "service.durability",
        "service.domain",
        "service.store",
        "service.web",
        "service.api_client",
        "service.tail",
        "service.up",
        "service.demo",
        "service.plan",
    },
    "workers": RUNTIME | {"service.domain", "service.durability", "service.store"},
}


def modules() -> list[tuple[str, Path]]:
    """Every module of the project with its file."""
    found = []
    for package in ("service", "workers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def unit(module: str) -> str:
    """The package, or top-level module, that a module belongs to."""
    return "workers" if module.startswith("workers") else ".".join(module.split(".")[:2])


def imported(path: Path) -> set[str]:
    """What a file imports of the project, by unit; names imported from a package count as its modules."""
    units = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected absolute imports"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        units |= {unit(name) for name in names if name.split(".")[0] in ("service", "workers")}
    return units


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_one_way(module: str, path: Path) -> None:
    if module == "service":
        return
    own = unit(module)
    strange = imported(path) - ALLOWED[own] - {own}
    assert not strange, f"{module} imports {', '.join(sorted(strange))}"


def test_the_rules_name_nothing_that_is_gone() -> None:
    assert set(ALLOWED) == {unit(module) for module, _ in modules() if module != "service"}


def test_the_queue_names_a_job_that_exists() -> None:
    module, _, name = APPEND_JOB.rpartition(".")
    assert callable(getattr(import_module(module), name))


def test_importing_opens_no_socket_and_reads_no_setting() -> None:
    names = [module for module, _ in modules() if not module.endswith("__main__")]
    code = f"""
import os, socket, sys
class Environment(dict):
    def _look(self, key):
        assert not str(key).startswith("STOPPRESS_"), f"{{key}} was read at import"
    def __getitem__(self, key): self._look(key); return super().__getitem__(key)
    def get(self, key, default=None): self._look(key); return super().get(key, default)
    def __contains__(self, key): self._look(key); return super().__contains__(key)
os.environ = Environment(os.environ)
def refuse(event, arguments):
    assert event not in ("socket.connect", "socket.bind"), f"{{event}} {{arguments}} at import"
sys.addaudithook(refuse)
import importlib
for name in {names!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
