"""Which requests make no events: excluded by path, address or user agent, or made by staff."""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

from analytics_middleware.remembering import remembered
from analytics_middleware.request import Request

STAFF: Final = "staff"
"""The entry of `exclude` that leaves out the site's own staff."""
IP: Final = "ip:"
AGENT: Final = "agent:"

_CACHED = 4096


class Rules(NamedTuple):
    """The entries of `exclude` that are checked for each request, by kind."""

    paths: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()


def parse(entries: Iterable[object]) -> Rules:
    """Return *entries* by kind. Raises `ValueError`, whose argument is the invalid entry."""
    paths: list[str] = []
    networks: list[str] = []
    agents: list[str] = []
    for entry in entries:
        if not isinstance(entry, str):
            raise ValueError(entry)
        if entry == STAFF:
            continue
        if entry.startswith(IP):
            try:
                networks.append(str(ip_network(entry.removeprefix(IP).strip(), strict=False)))
            except ValueError:
                raise ValueError(entry) from None
        elif entry.startswith(AGENT) and entry.removeprefix(AGENT).strip():
            agents.append(entry.removeprefix(AGENT).strip())
        elif entry.startswith(("/", "*")):
            paths.append(entry)
        else:
            raise ValueError(entry)
    return Rules(tuple(paths), tuple(networks), tuple(agents))


class Exclusions:
    """Decides which requests the entries of `exclude` leave out. Answers are cached.

    An excluded path makes no automatic events, but events that its view tracks are kept. Excluded visitors make no
    events of either kind.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        rules = parse(entries)
        self._paths = _any_of(rules.paths)
        self._agents = _any_of(rules.agents, re.IGNORECASE)
        self._networks = [ip_network(network) for network in rules.networks]
        # Checked at every request, to skip the rest if nothing is excluded.
        self.any_path = self._paths is not None
        self.any_visitor = bool(self._agents or self._networks)
        self.path = remembered(_CACHED)(self._excludes_path)
        """Whether automatic events of a path are left out."""
        self._address = lru_cache(_CACHED)(self._excludes_address)
        self._agent = remembered(_CACHED)(self._excludes_agent)

    def visitor(self, request: Request, address: str | None) -> bool:
        """Whether *address*, or the user agent that made *request*, is left out."""
        if self._networks and address is not None and self._address(address):
            return True
        return self._agents is not None and self._agent(request.header("user-agent") or "")

    def _excludes_path(self, path: str) -> bool:
        return self._paths is not None and self._paths.match(path) is not None

    def _excludes_address(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        # An address of one IP version is never in a network of the other; Python answers False.
        return any(parsed in network for network in self._networks)

    def _excludes_agent(self, agent: str) -> bool:
        return self._agents is not None and self._agents.match(agent) is not None


def is_staff(user: object) -> bool:
    """Whether *user*, a framework's user object, is marked as staff by ``is_staff`` or ``is_admin``."""
    return any(getattr(user, name, False) is True for name in ("is_staff", "is_admin"))


def _any_of(patterns: Sequence[str], flags: int = 0) -> re.Pattern[str] | None:
    return re.compile("|".join(map(fnmatch.translate, patterns)), flags) if patterns else None
