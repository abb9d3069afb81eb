"""The client's address: the peer's, or the address that trusted proxies name.

A proxy appends the address that called it to a header, so the header is read from the right, and
only as long as the writer of the next entry is trusted. Entries further left may be invented by the
caller. Only the header that the proxies write is read: a caller can send the other header through
them.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from multidict import CIMultiDictProxy

HOPS_MAX = 16
ADDRESSES_MAX = 65_536
# The size of network that a single customer usually has.
IPV4_PREFIX, IPV6_PREFIX = 24, 56

_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)', re.IGNORECASE)
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::\d+)?|([\d.]+):\d+")

_PROXY_HEADERS = ("X-Forwarded-For", "Forwarded", "Via")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """`10.0.0.0/8, fd00::/8`; an address is a network too. Raises ValueError, naming the fault."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def address_of(node: str) -> Address | None:
    """The address in one entry of a header: bare, quoted, in brackets, with a port; else None."""
    text = node.strip().strip('"')
    bracketed = _WITH_PORT.fullmatch(text)
    if bracketed is not None:
        text = bracketed[1] or bracketed[2]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=ADDRESSES_MAX)
def network_of(address: str) -> str:
    """The network whose limits a client counts against; `unknown` for text without an address."""
    found = address_of(address)
    if found is None:
        return "unknown"
    prefix = IPV4_PREFIX if found.version == 4 else IPV6_PREFIX
    return str(ip_network((found, prefix), strict=False))


class ClientAddresses:
    """Finds the client of a request behind trusted proxies."""

    def __init__(self, trusted: Sequence[Network], header: str) -> None:
        """`trusted`: the proxies' networks; `header`: the header they write, `Forwarded` or
        `X-Forwarded-For`.
        """
        self._trusted = tuple(trusted)
        self._header = header
        self._walked = lru_cache(maxsize=ADDRESSES_MAX)(self._walk)
        self.trusts = lru_cache(maxsize=ADDRESSES_MAX)(self._trusts)

    def client_of(self, peer: str, headers: CIMultiDictProxy[str]) -> str:
        """The client's address; where the header does not name it, that of the last known proxy."""
        if not self._trusted or not self.trusts(peer):
            return peer
        return self._walked(peer, ",".join(headers.getall(self._header, ())))

    def proxied(self, peer: str, headers: CIMultiDictProxy[str]) -> bool:
        """Whether the connection may carry requests of several callers."""
        return self.trusts(peer) or any(name in headers for name in _PROXY_HEADERS)

    def _trusts(self, address: str) -> bool:
        found = address_of(address)
        return found is not None and any(
            found.version == network.version and found in network for network in self._trusted
        )

    def _walk(self, peer: str, line: str) -> str:
        client = peer
        for node in self._nodes(line)[: -HOPS_MAX - 1 : -1]:
            address = address_of(node)
            if address is None or not self.trusts(client):
                break
            client = str(address)
        return client

    def _nodes(self, line: str) -> list[str]:
        if self._header.lower() != "forwarded":
            return line.split(",")
        found = (_FOR.search(element) for element in _ELEMENT.findall(line))
        return [match[1] if match else "" for match in found]
