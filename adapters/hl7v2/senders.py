"""Whose message it is: the site and the sender by MSH-3, MSH-4 and the address it came from."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from adapters.hl7v2.errors import UnknownSenderError
from adapters.sites.hl7v2 import Hl7v2, Hl7v2Sender


def sender_of(rules: Hl7v2 | None, application: str, facility: str) -> Hl7v2Sender | None:
    """The one sender of a site that calls itself so; None where there is none."""
    if rules is None:
        return None
    found = [
        each
        for each in rules.senders
        if (each.application, each.facility) == (application, facility)
    ]
    return found[0] if len(found) == 1 else None


class Senders:
    """All that may send by MLLP, of every site."""

    def __init__(self, sites: Mapping[str, Hl7v2]) -> None:
        """The sites by their names."""
        self._sites = sites
        self._networks = {
            site: tuple(ip_network(peer) for peer in rules.peers) for site, rules in sites.items()
        }

    @property
    def is_empty(self) -> bool:
        """Whether nobody may send from anywhere."""
        return not any(
            rules.senders and self._networks[site] for site, rules in self._sites.items()
        )

    def may_connect(self, address: str) -> bool:
        """Whether anybody may send from there."""
        peer = _address(address)
        return any(peer in network for networks in self._networks.values() for network in networks)

    def find(self, address: str, application: str, facility: str) -> tuple[str, Hl7v2Sender]:
        """The site and its sender.

        Raises:
            UnknownSenderError: there is none, or more than one site has it.
        """
        peer = _address(address)
        found = [
            (site, sender)
            for site, rules in self._sites.items()
            if any(peer in network for network in self._networks[site])
            and (sender := sender_of(rules, application, facility)) is not None
        ]
        if len(found) != 1:
            raise UnknownSenderError("MSH-3, MSH-4: no one site has this sender at this address")
        return found[0]


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)  # a listener on :: sees IPv4 like this
    return mapped or address
