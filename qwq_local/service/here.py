"""The manager of services on this system."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

from qwq_local.errors import InstallationError
from qwq_local.service.manager import Manager


def find_manager(environment: Mapping[str, str] = os.environ) -> Manager:
    """systemd, launchd or the Task Scheduler. Raises InstallationError where sudo would make it root's service, and on other systems."""
    if environment.get("SUDO_USER") and getattr(os, "getuid", lambda: 1)() == 0:
        raise InstallationError(
            f"sudo would make it a service of root, who has neither the models nor the chats of {environment['SUDO_USER']}.",
            hint="Run the same without sudo.",
        )
    found = {"Linux": _systemd, "Darwin": _launchd, "Windows": _scheduler}.get(platform.system())
    if found is None:
        raise InstallationError(f"On {platform.system()} qwq knows nothing that keeps services alive.", hint="Run qwq serve itself.")
    return found()


def _systemd() -> Manager:
    from qwq_local.service import systemd

    return systemd.here()


def _launchd() -> Manager:
    from qwq_local.service import launchd

    return launchd.here()


def _scheduler() -> Manager:
    from qwq_local.service import scheduler

    return scheduler.here()
