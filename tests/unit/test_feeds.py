"""Feeds: which codings a caller takes."""

import pytest

from service.web.feeds import takes_gzip


@pytest.mark.parametrize(
    "header",
    ["gzip", "GZIP", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*", "gzip ; q=0.001", "x-gzip"],
)
def test_gzip_is_for_who_names_it(header: str) -> None:
    assert takes_gzip(header)


@pytest.mark.parametrize("header", ["", "identity", "br", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "gzipped"])
def test_no_gzip_for_who_refuses_it_or_does_not_know_it(header: str) -> None:
    assert not takes_gzip(header)
