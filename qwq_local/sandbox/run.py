"""Run a program that nobody has read."""

from __future__ import annotations

from qwq_local.errors import SettingsError
from qwq_local.sandbox import capability
from qwq_local.sandbox.limits import Limits, Outcome
from qwq_local.sandbox.process import CannotConfineError, run_confined


def run_program(source: str, stdin: bytes | str = b"", limits: Limits | None = None) -> Outcome:
    """Run Python source as a script, alone: no network, no files but an empty folder of its own, no processes, and so much of the rest.

    Returns when nothing of it is left. May be called from several threads at once. Raises SettingsError where it cannot be confined.
    """
    reason = capability.refusal()
    if reason:
        raise _cannot(reason)
    try:
        return run_confined(source, stdin.encode("utf-8", "surrogatepass") if isinstance(stdin, str) else stdin, limits or Limits())
    except CannotConfineError as error:
        raise _cannot(str(error)) from error


def _cannot(reason: str) -> SettingsError:
    return SettingsError(
        f"Programs cannot be confined here: {reason}.",
        hint="Answers that are programs are graded on Linux 5.14 or newer where users may make namespaces: on a machine of your own, "
        "or in a container that is started with --security-opt seccomp=unconfined or --privileged. Leave out the questions that ask for "
        "programs to grade the others.",
    )
