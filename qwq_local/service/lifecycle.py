"""A service installed, looked at and removed: whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qwq_local.errors import InstallationError, SettingsError
from qwq_local.service.address import Address, Health, address_of, ask, require_free
from qwq_local.service.manager import Manager, State
from qwq_local.service.order import Order, differences

PERIOD_SECONDS: Final = 0.3
SILENT_SECONDS: Final = 90.0
"""How long a service that runs may answer nothing at all."""
DEAD_SECONDS: Final = 10.0
"""How long it may not run, while it is started."""
LOG_LINES: Final = 12
HEALTH_LINES: Final = 500
"""So many more are read, since they may all be of whoever asked for its health."""


@dataclass(frozen=True)
class Patience:
    """How whoever waits for a service asks and waits; `tell` hears how far the model is, from 0.0 to 1.0, while it is loaded."""

    tell: Callable[[float], None] = lambda _share: None
    ask: Callable[[Address], Health | None] = ask
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Installed:
    """What came of it; `was_there`: the same service ran already, and nothing was done."""

    order: Order
    address: Address
    health: Health
    state: State
    was_there: bool = False


@dataclass(frozen=True)
class Installer:
    """Puts services in place. `check` looks whether what is ordered can run, before anything is changed, and raises where it cannot.

    `require_free` raises where an address cannot be had.
    """

    manager: Manager
    check: Callable[[], None]
    require_free: Callable[[Address], None] = require_free
    patience: Patience = field(default_factory=Patience)

    def install(self, order: Order, *, replaces: bool = False) -> Installed:
        """Put a service in place, start it, and wait until it answers.

        Raises InstallationError, having put back what was there before, where it cannot be reached, where another service is there and
        `replaces` is off, or where it does not answer; and what `check` raises.
        """
        self.manager.require()
        before = self.manager.find()
        order = self.manager.adapt(order)
        address, is_running = address_of(order), before is not None and self.manager.state().is_running
        if before == order and is_running and self.manager.state().starts != "never":
            health = self.patience.ask(address) or Health("loading")
            return Installed(order, address, health, self.manager.state(), was_there=True)
        if before is not None and before != order and not replaces:
            raise _other(before, order)
        if before is None or not is_running or _port_of(before) not in {address.port, None}:
            self.require_free(address)
        if not is_running:
            self.check()
        return self._start(order, address, before)

    def _start(self, order: Order, address: Address, before: Order | None) -> Installed:
        try:
            self.manager.start(order)
            health = self._wait(address)
        except BaseException as error:
            lines = telling(self.manager, LOG_LINES) if isinstance(error, InstallationError) else []
            self._put_back(before)
            if lines and isinstance(error, InstallationError):
                raise InstallationError("\n".join([f"{error} Its log ends:", *lines]), hint=error.hint) from error
            raise
        return Installed(order, address, health, self.manager.state())

    def _put_back(self, before: Order | None) -> None:
        self.manager.take_away()
        if before is not None:
            self.manager.start(before)

    def _wait(self, address: Address) -> Health:
        """Until it answers. Raises InstallationError where it dies, or is silent for too long."""
        heard_at = ran_at = self.patience.clock()
        while True:
            state, health, now = self.manager.state(), self.patience.ask(address), self.patience.clock()
            if health is not None and state.is_running:
                if health.status in {"ok", "unloaded"}:
                    return health
                self.patience.tell(health.loaded_share)
                heard_at = now
            ran_at = now if state.is_running else ran_at
            self._require_life(state, now - ran_at, now - heard_at)
            self.patience.sleep(PERIOD_SECONDS)

    def _require_life(self, state: State, dead_seconds: float, silent_seconds: float) -> None:
        again = "Try the same with qwq serve, which tells more."
        if state.restarts or dead_seconds > DEAD_SECONDS:
            raise InstallationError(f"The service does not stay alive{f': {state.end}' if state.end else ''}.", hint=again)
        if silent_seconds > SILENT_SECONDS:
            raise InstallationError(f"The service has not answered for {SILENT_SECONDS:.0f} seconds.", hint=again)


def _port_of(order: Order) -> int | None:
    """None where its settings cannot be any more: it may be any port."""
    try:
        return address_of(order).port
    except SettingsError:
        return None


def _other(before: Order, order: Order) -> InstallationError:
    told = "; ".join(differences(before, order))
    return InstallationError(f"Another service is there already: {told}.", hint="Replace it: the same command with --replace")


@dataclass(frozen=True)
class Status:
    """How the service is: what is installed, whether it runs and answers, and what it told last.

    `obstacle` says why its address cannot be known, where that is so: its settings file cannot be, and then it cannot start either.
    """

    order: Order | None
    state: State
    address: Address | None = None
    health: Health | None = None
    log: tuple[str, ...] = ()
    obstacle: str = ""


def look(manager: Manager, n_lines: int, ask_at: Callable[[Address], Health | None] = ask) -> Status:
    """How the service is. Raises InstallationError."""
    order = manager.find()
    if order is None:
        return Status(None, State())
    state, log = manager.state(), tuple(telling(manager, n_lines))
    try:
        address = address_of(order)
    except SettingsError as error:
        return Status(order, state, log=log, obstacle=f"{error} {error.hint}")
    return Status(order, state, address, ask_at(address) if state.is_running else None, log)


def telling(manager: Manager, n_lines: int) -> list[str]:
    """The last lines of its log but those of whoever asks for its health, as waiting for it does."""
    lines = [line for line in manager.log_lines(n_lines + HEALTH_LINES) if " path=/health " not in line] if n_lines else []
    return lines[-n_lines:]


def remove(manager: Manager) -> bool:
    """Stop the service and leave nothing of it, nor of one that was half installed; whether there was one. Raises InstallationError."""
    was_there = manager.find() is not None
    manager.take_away()
    return was_there
