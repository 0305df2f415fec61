"""The address that a service answers at: whether it can be had, and how whoever answers there fares."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import sys
from dataclasses import dataclass
from typing import Any, Final

from qwq_local.configuration import read_configuration
from qwq_local.errors import InstallationError, SettingsError
from qwq_local.machine.processes import listener
from qwq_local.service.order import Order

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080
ASK_SECONDS: Final = 5.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    @property
    def asked_at(self) -> str:
        """The host as this machine asks it."""
        return _EVERYWHERE.get(self.host, self.host)

    def __str__(self) -> str:
        host = self.asked_at
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@dataclass(frozen=True)
class Health:
    """What /health tells: `status` is ok, loading, unloaded, error or stopping; `loaded_share` goes from 0.0 to 1.0."""

    status: str
    model: str = ""
    loaded_share: float = 0.0
    error: str = ""


def address_of(order: Order) -> Address:
    """By its options, then by its environment and the settings file. Raises SettingsError where these cannot be."""
    said = read_configuration(dict(order.environment)).arguments
    host, port = order.option("--host") or said.get("host", DEFAULT_HOST), order.option("--port") or said.get("port", DEFAULT_PORT)
    try:
        return Address(str(host), int(port))
    except ValueError:
        raise SettingsError(
            f"port is {port!r}, which is no number.", hint="Install the service anew: qwq service install --replace"
        ) from None


def require_free(address: Address) -> None:
    """Raise InstallationError, naming whoever listens there, where the address cannot be had."""
    if not address.port:
        raise SettingsError("port is 0, which is another at each start.", hint="A service needs one that others know: --port 8080")
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as tried:
            if sys.platform != "win32":  # there it would let two programs share a port
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(found[4])
            tried.listen(1)
    except (OSError, UnicodeError) as error:
        raise InstallationError(
            f"{address} cannot be had: {getattr(error, 'strerror', None) or error}{_whose(address) if _is_taken(error) else ''}.",
            hint="End that program, or choose another port with --port.",
        ) from error


def _is_taken(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def _whose(address: Address) -> str:
    health, who = ask(address, 1.0), listener(address.port)
    told = f"process {who.pid} ({who.name})" if who.pid else "a program of another user"
    if health:
        return f"; {told if who.pid else 'somebody'} serves {health.model or 'a model'} there with qwq serve"
    return f"; {told} listens there"


def ask(address: Address, seconds: float = ASK_SECONDS) -> Health | None:
    """How the server there fares; None where nobody answers as ours do."""
    connection = http.client.HTTPConnection(address.asked_at, address.port, timeout=seconds)
    try:
        connection.request("GET", "/health")
        told: Any = json.loads(connection.getresponse().read(65536))
        return Health(str(told["status"]), str(told["model"]), float(told["loaded_share"]), str(told["error"]))
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    finally:
        connection.close()
