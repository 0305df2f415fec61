"""What may be written next, guessed cheaply: from texts of late, or by a draft model; and how many guesses are worth reading."""

from qwq_local.speculation.speculator import Speculator
from qwq_local.speculation.writer import Writer

__all__ = ["Speculator", "Writer"]
