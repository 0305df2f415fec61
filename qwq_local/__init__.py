"""QwQ-32B on your own machine.

Example:
    from qwq_local import QwQ

    with QwQ.load("demo") as qwq:
        print(qwq.chat([{"role": "user", "content": "What is 47 + 85?"}]).content)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qwq_local.runtime import QwQ

__version__ = "0.1.0"
__all__ = ["QwQ", "__version__"]


def __getattr__(name: str) -> object:
    """Import the runtime, and with it llama.cpp, only when it is asked for."""
    if name == "QwQ":
        from qwq_local.runtime import QwQ

        return QwQ
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
