"""What the tests of model files share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hub_server import HubServer, serve
from tests.pulling import REPOSITORIES


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub on loopback, whose silences are given up on soon."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    with serve(REPOSITORIES) as hub:
        yield hub
