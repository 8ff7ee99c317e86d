from __future__ import annotations

import pytest
from yarl import URL

from midcut.wire.addresses import address_url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8700"),
        ("cloud.example", "http://cloud.example:8700"),
        ("::1", "http://[::1]:8700"),
        ("::", "http://[::]:8700"),
        ("[::1]", "http://[::1]:8700"),
        ("fe80::1%eth0", "http://[fe80::1%25eth0]:8700"),
        ("fe80::1%25eth0", "http://[fe80::1%25eth0]:8700"),
        ("2001:db8::a", "http://[2001:db8::a]:8700"),
    ],
)
def test_an_address_is_printed_as_it_is_typed(host, url):
    assert address_url("http", host, 8700) == url
    assert URL(url).port == 8700
    assert URL(url).host == host.strip("[]").replace("%25", "%")
