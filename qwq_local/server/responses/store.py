"""Responses that are kept, so that conversations can go on from them: in memory only, until the server ends or newer ones need the room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qwq_local.server.responses.items import HistoryItem, OutputItem, without_thoughts
from qwq_local.server.responses.told import Response

MAX_RESPONSES: Final = 1000
MAX_BYTES: Final = 256 * 2**20
"""How much is kept, as JSON: each response with its whole conversation, although answers that go on from each other share theirs."""


@dataclass(frozen=True)
class Kept:
    """A response that has ended, and the items that it answers, those of earlier turns among them."""

    response: Response
    items: tuple[HistoryItem, ...]
    n_bytes: int

    @property
    def history(self) -> tuple[HistoryItem, ...]:
        """What an answer that goes on from it is shown."""
        return (*self.items, *without_thoughts(self.response.output))


class ResponseStore:
    """Keeps at most so many responses of at most so many bytes; what was not used for longest leaves first. For one event loop."""

    def __init__(self, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES) -> None:
        self.max_responses = max_responses
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._owned: dict[str, tuple[str, HistoryItem | OutputItem]] = {}
        self._n_bytes = 0

    def put(self, response: Response, items: Sequence[HistoryItem]) -> None:
        """Keep a response that answers these items."""
        n_bytes = sum(len(told.model_dump_json().encode()) for told in (response, *items))
        self._kept[response.id] = Kept(response, tuple(items), n_bytes)
        self._n_bytes += n_bytes
        self._owned |= {item.id: (response.id, item) for item in (*items, *response.output)}
        while self._n_bytes > self._max_bytes or len(self._kept) > self.max_responses:
            self.remove(next(iter(self._kept)))

    def find(self, response_id: str) -> Kept | None:
        """The response of this id, which counts as used."""
        if response_id in self._kept:
            self._kept.move_to_end(response_id)
        return self._kept.get(response_id)

    def find_item(self, item_id: str) -> HistoryItem | OutputItem | None:
        """The item of this id, while the latest response that it belongs to is kept."""
        return self._owned.get(item_id, ("", None))[1]

    def remove(self, response_id: str) -> bool:
        """Forget a response; whether there was one."""
        kept = self._kept.pop(response_id, None)
        if kept is None:
            return False
        self._n_bytes -= kept.n_bytes
        for item in (*kept.items, *kept.response.output):
            if self._owned.get(item.id, ("",))[0] == response_id:
                del self._owned[item.id]
        return True
