"""The client's address is what trusted proxies say, and nothing else that stands in a header."""

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.admission.client_address import (
    HOPS_MAX,
    ClientAddresses,
    address_of,
    network_of,
    parse_networks,
)

PROXIES = "10.0.0.0/8, fd00::/8, 192.0.2.7"
XFF, FORWARDED = "X-Forwarded-For", "Forwarded"


def client(peer: str, *lines: str, written: str = XFF, sent_as: str | None = None) -> str:
    """The address found when the proxies write `written` and the request has these lines."""
    addresses = ClientAddresses(parse_networks(PROXIES), written)
    headers = CIMultiDict([(sent_as or written, line) for line in lines])
    return addresses.client_of(peer, CIMultiDictProxy(headers))


@pytest.mark.parametrize(
    ("peer", "lines", "found"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # the caller's own invention
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # invented on the left
        ("10.0.0.1", ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),  # in two lines
        ("10.0.0.1", ["203.0.113.9, 10.2.3.4, 192.0.2.7"], "203.0.113.9"),
        ("10.0.0.1", ["10.9.9.9, 203.0.113.9, 10.2.3.4"], "203.0.113.9"),  # a forged proxy
        ("10.0.0.1", ["10.9.9.9, 10.2.3.4"], "10.9.9.9"),  # proxies all the way
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("fd00::5", ['"[2001:db8::1]"'], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        (
            "10.0.0.1",
            ["203.0.113.9, unknown"],
            "10.0.0.1",
        ),  # unknown, so no address left of it counts
        ("10.0.0.1", ["203.0.113.9, _hidden, 10.2.3.4"], "10.2.3.4"),
        ("10.0.0.1", ["203.0.113.9, 999.1.1.1"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9,"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["127.0.0.1' or 1=1"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9" + ", 10.0.0.1" * (HOPS_MAX + 5)], "10.0.0.1"),
    ],
)
def test_x_forwarded_for(peer: str, lines: list[str], found: str) -> None:
    assert client(peer, *lines) == found


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["for=203.0.113.9"], "203.0.113.9"),
        (["For=203.0.113.9;proto=https;by=10.0.0.1"], "203.0.113.9"),
        (["proto=https; for=203.0.113.9"], "203.0.113.9"),
        (["for=198.51.100.1, for=203.0.113.9"], "203.0.113.9"),
        (['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (['for="203.0.113.9:80"'], "203.0.113.9"),
        (["for=203.0.113.9, for=10.2.3.4"], "203.0.113.9"),
        (["for=unknown"], "10.0.0.1"),
        (["for=203.0.113.9, for=unknown"], "10.0.0.1"),
        (["for=_secret"], "10.0.0.1"),
        (["by=203.0.113.9"], "10.0.0.1"),
        (["for=198.51.100.1", "for=203.0.113.9"], "203.0.113.9"),
        (['for="198.51.100.1, for=203.0.113.9"'], "10.0.0.1"),  # a comma inside of quotes
    ],
)
def test_forwarded(lines: list[str], found: str) -> None:
    assert client("10.0.0.1", *lines, written=FORWARDED) == found


@pytest.mark.parametrize(("written", "other"), [(XFF, FORWARDED), (FORWARDED, XFF)])
def test_the_header_that_proxies_do_not_write_is_the_callers_own(written: str, other: str) -> None:
    invented = "for=198.51.100.1" if other == FORWARDED else "198.51.100.1"
    assert client("10.0.0.1", invented, written=written, sent_as=other) == "10.0.0.1"


def test_without_proxies_no_header_is_read() -> None:
    addresses = ClientAddresses((), XFF)
    headers = CIMultiDictProxy(CIMultiDict({XFF: "203.0.113.9"}))
    assert addresses.client_of("127.0.0.1", headers) == "127.0.0.1"
    assert addresses.proxied("127.0.0.1", headers)  # a proxied address may be shared


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("203.0.113.255", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2ff:3::4", "2001:db8:1:200::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("", "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address) == network


def test_what_is_no_address() -> None:
    for node in (
        "",
        "unknown",
        "_x",
        "1.2.3",
        "[::1",
        "::1]",
        "1.2.3.4:x",
        "1.2.3.4:5:6",
        "0x7f.1",
    ):
        assert address_of(node) is None, node
