"""Names that a server goes by, and whose pages may ask it (pure)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit


def allowed_hosts(bound: str, more: Sequence[str]) -> frozenset[str]:
    """The names that a server goes by that is bound to a loopback address, and those it was given; any, where it is bound elsewhere."""
    given = {host_name(name if "[" in name or name.count(":") < 2 else f"[{name}]") for name in more}
    if not is_loopback(bound):
        return frozenset(given)
    return frozenset({"localhost", "127.0.0.1", "::1", bound.strip("[]").casefold(), *given})


def host_name(host: str) -> str:
    """The name in a Host header, as it is compared: without a port and without brackets; empty for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").casefold() if "@" not in host else ""
    except ValueError:
        return ""


def origin_of(url: str) -> str:
    """An origin as browsers send it: no path, the port only where it is not the scheme's own. Raises ValueError for what is none."""
    parts = urlsplit(url)
    if not parts.scheme or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{url!r} is no origin")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    is_usual = parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme))
    return f"{parts.scheme}://{name}" + ("" if is_usual else f":{parts.port}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address."""
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
