"""Programs on terminals of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress

from tests.programs import WAIT_SECONDS


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *command: str, **environment: str) -> None:
        self._ours, theirs = os.openpty()
        self.child = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | environment, start_new_session=True
        )
        os.close(theirs)
        self.shown = b""
        self._n_awaited = 0

    def read_until(self, is_there: Callable[[bytes], bool]) -> None:
        """Read on until it is there, or the program has ended."""
        while not is_there(self.shown):
            data = b""
            with suppress(OSError):  # Linux says EIO where others say nothing, once the other side is closed
                data = os.read(self._ours, 65536)
            if not data:
                return
            self.shown += data

    def await_text(self, text: str) -> None:
        """Read on until a text is there, behind the one that was awaited before; fail where the program ends without it."""
        wanted = text.encode()
        self.read_until(lambda shown: wanted in shown[self._n_awaited :])
        found = self.shown.find(wanted, self._n_awaited)
        assert found >= 0, self.shown.decode()
        self._n_awaited = found + len(wanted)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Read all that is still shown; the exit code."""
        self.read_until(lambda _: False)
        return self.child.wait(WAIT_SECONDS)

    def close(self) -> None:
        """End it, however it stands."""
        self.child.kill()
        self.child.wait()
        os.close(self._ours)
