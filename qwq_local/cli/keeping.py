"""What was measured here, kept for later; or why not, told on the terminal."""

from __future__ import annotations

from typing import Protocol

from qwq_local.cli.terminal import notice


class Keepable(Protocol):
    """What a measurement found."""

    @property
    def why_not_kept(self) -> str:
        """Why it must not be kept, or nothing."""
        ...

    def keep(self) -> bool:
        """Keep it; False where the folder cannot be written."""
        ...


def keep_or_tell(report: Keepable) -> bool:
    """Whether it is kept; why not is told."""
    if report.why_not_kept:
        notice(f"notice: not stored: {report.why_not_kept}.")
        return False
    if not report.keep():
        notice("notice: not stored: the folder of caches cannot be written (qwq doctor).")
        return False
    return True
