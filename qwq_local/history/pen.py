"""Writes answers down while they grow: one thread for all drafts of a history, so that whoever makes them never waits for a disk."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Final

from qwq_local.errors import HistoryError
from qwq_local.history.chat import ChatMessage
from qwq_local.history.draft import Draft, Piece
from qwq_local.history.file import as_history_error

PERIOD_SECONDS: Final = 0.5
SIGN_OF_LIFE_SECONDS: Final = 2.0
"""A draft to which nothing comes, since its prompt is being read, is touched so often."""

_UPDATE: Final = """UPDATE messages SET touched_at = :touched_at, state = :state, n_tokens = :n_tokens, seconds = :seconds,
    thought_seconds = :thought_seconds, content = content || :content, reasoning = reasoning || :reasoning WHERE id = :id"""
_END: Final = """UPDATE messages SET finish_reason = :finish_reason, error = :error, usage = :usage, rope = :rope,
    tool_calls = :tool_calls WHERE id = :id"""
_TOUCH_CHAT: Final = "UPDATE chats SET updated_at = :touched_at WHERE id = (SELECT chat_id FROM messages WHERE id = :id)"


class Pen:
    """Drafts, and the thread that writes them; `lock` is held around every use of the connection, `clock` reads seconds since 1970."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._lock = lock
        self._clock = clock
        self._drafts: dict[int, Draft] = {}
        self._touched_at: dict[int, float] = {}
        self._due = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self.problem = ""

    def begin(self, message_id: int) -> Draft:
        """A draft of a message that is in the file already."""
        draft = Draft(message_id, time.monotonic, self._write_now)
        with self._lock:
            self._drafts[message_id] = draft
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="qwq-history", daemon=True)
                self._thread.start()
        return draft

    def newest(self, message: ChatMessage) -> ChatMessage:
        """A message as it stands in the file, with what is not written there yet. `lock` is held, as it was when the file was read."""
        draft = self._drafts.get(message.id)
        return draft.added_to(message) if draft else message

    def close(self) -> None:
        """Write what is left, and end the thread. Raises HistoryError where that cannot be written."""
        self._is_closing = True
        self._due.set()
        if thread := self._thread:
            thread.join()
        for draft in list(self._drafts.values()):
            draft.finish("stopped")
        self._write()
        if self.problem and self._drafts:
            raise HistoryError(f"The end of a chat could not be kept: {self.problem}")

    def _write_now(self) -> None:
        if threading.current_thread() is not self._thread:
            self._write()

    def _run(self) -> None:
        while not self._is_closing:
            self._due.wait(PERIOD_SECONDS)
            self._write()
            if not self._drafts:
                with self._lock:
                    if not self._drafts:
                        self._thread = None
                        return

    def _write(self) -> None:
        """All that has come, in one transaction; what cannot be written is kept for the next time."""
        with self._lock:
            pieces = {message_id: draft.take() for message_id, draft in self._drafts.items()}
            try:
                with as_history_error():
                    self._write_pieces(pieces)
            except HistoryError as error:
                self.problem = str(error)
                for message_id, piece in pieces.items():
                    self._drafts[message_id].give_back(piece)
                return
            self.problem = ""
            for message_id, piece in pieces.items():
                if piece.ending:
                    del self._drafts[message_id]
                    self._touched_at.pop(message_id, None)

    def _write_pieces(self, pieces: dict[int, Piece]) -> None:
        now = self._clock()
        due = {message_id: piece for message_id, piece in pieces.items() if self._is_due(message_id, piece, now)}
        if not due:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            for message_id, piece in due.items():
                self._write_piece(message_id, piece, now)
        self._touched_at.update(dict.fromkeys(due, now))

    def _is_due(self, message_id: int, piece: Piece, now: float) -> bool:
        is_new = bool(piece.content or piece.reasoning or piece.ending)
        return is_new or abs(now - self._touched_at.get(message_id, 0.0)) >= SIGN_OF_LIFE_SECONDS

    def _write_piece(self, message_id: int, piece: Piece, now: float) -> None:
        ending = piece.ending
        row = {
            "id": message_id,
            "touched_at": now,
            "state": ending.state if ending else "writing",
            "content": piece.content,
            "reasoning": piece.reasoning,
            "n_tokens": piece.n_tokens,
            "thought_seconds": piece.thought_seconds,
            "seconds": piece.seconds,
        }
        self._connection.execute(_UPDATE, row)
        if ending:
            told = {"finish_reason": ending.finish_reason, "error": ending.error, "rope": ending.rope, "id": message_id, "touched_at": now}
            lists = {"usage": json.dumps(dict(ending.usage)), "tool_calls": json.dumps([*map(dict, ending.tool_calls)])}
            self._connection.execute(_END, told | lists)
            self._connection.execute(_TOUCH_CHAT, told)
