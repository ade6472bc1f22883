"""The figures' browser: the system's own, or a reason."""

from pathlib import Path

import pytest

from bench.browser import NAMES, MissingError, chromium


def test_without_chromium_it_says_what_is_missing_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="Chromium missing: apt-get install chromium"):
        chromium()


@pytest.mark.parametrize("name", NAMES)
def test_chromium_is_found_by_any_of_its_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    there = tmp_path / name
    there.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chromium() == str(there)
