"""What the keys of a live chat do."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys


class Keyed(Protocol):
    """What keys are pressed for."""

    @property
    def is_busy(self) -> bool:
        """Whether something is being done."""
        ...

    @property
    def is_asking(self) -> bool:
        """Whether a key is awaited that answers a question."""
        ...

    def send(self) -> None:
        """What was typed is complete; it is sent when nothing is being done any more."""
        ...

    def stop(self) -> None:
        """End what is being done."""
        ...

    def answer_now(self) -> None:
        """Let the model stop thinking."""
        ...

    def fold(self) -> None:
        """Show more of the thought, or less."""
        ...

    def clear(self) -> None:
        """Give up what was typed."""
        ...

    def end(self) -> None:
        """End the conversation, once what is being done is over."""
        ...

    def decide(self, letter: str) -> None:
        """The answer to a question."""
        ...

    def paste(self, text: str) -> None:
        """Put a text where the cursor is."""
        ...


def bindings(keyed: Keyed) -> KeyBindings:
    """The keys; all others edit the line, as in a shell."""
    keys = KeyBindings()
    _bind_typing(keys, keyed)
    _bind_answering(keys, keyed)
    return keys


def _bind_typing(keys: KeyBindings, keyed: Keyed) -> None:
    asking, busy = Condition(lambda: keyed.is_asking), Condition(lambda: keyed.is_busy)

    def put_line_feed(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    def delete_or_end(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.delete()
        else:
            keyed.end()

    keys.add("enter", filter=~asking)(lambda _: keyed.send())
    keys.add("escape", "enter", filter=~busy)(put_line_feed)
    keys.add("c-j")(put_line_feed)
    keys.add("c-d")(delete_or_end)
    keys.add("c-z")(lambda event: event.app.suspend_to_background())
    keys.add(Keys.BracketedPaste, filter=~asking)(lambda event: keyed.paste(event.data))


def _bind_answering(keys: KeyBindings, keyed: Keyed) -> None:
    asking, busy = Condition(lambda: keyed.is_asking), Condition(lambda: keyed.is_busy)
    for key in ("c-c", Keys.SIGINT):
        keys.add(key, filter=busy, eager=True)(lambda _: keyed.stop())
        keys.add(key, filter=~busy)(lambda _: keyed.clear())
    keys.add("escape", filter=busy, eager=True)(lambda _: keyed.stop())
    keys.add("c-n", filter=busy)(lambda _: keyed.answer_now())
    keys.add("c-t")(lambda _: keyed.fold())
    for letter in "yna":
        keys.add(letter, filter=asking, eager=True)(partial(_decide, keyed, letter))


def _decide(keyed: Keyed, letter: str, _: KeyPressEvent) -> None:
    keyed.decide(letter)
