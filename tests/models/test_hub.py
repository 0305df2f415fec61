"""What the hub lists, refuses and passes over, asked over real sockets with huggingface_hub as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwq_local.errors import HubError
from qwq_local.models.download import PullProgress
from qwq_local.models.hub import Hub
from qwq_local.models.record import Record, read_record
from tests.hub_server import COMMIT, Fault, HubServer, sha256
from tests.pulling import CONTENT, OTHER, REPOSITORY, Ears, bring, parts


def test_a_pull_brings_the_file_with_its_record_and_says_how_far_it_is(server: HubServer, tmp_path: Path) -> None:
    ears = Ears()
    path = bring(server, tmp_path, ears=ears)
    assert path == tmp_path / "QwQ-32B-Q4_K_M.gguf"
    assert path.read_bytes() == CONTENT
    assert read_record(path) == Record(REPOSITORY, COMMIT, "qwq-32b-q4_k_m.gguf", len(CONTENT), sha256(CONTENT))
    assert ears.progress[-1] == PullProgress("pulling", len(CONTENT), len(CONTENT))
    assert not parts(tmp_path)
    assert server.sent_bytes == len(CONTENT)


def test_files_are_asked_for_at_the_commit_that_was_listed_not_at_a_branch_that_moves(server: HubServer, tmp_path: Path) -> None:
    bring(server, tmp_path)
    assert f"/{REPOSITORY}/resolve/{COMMIT}/" in next(request.path for request in server.requests if request.place == "resolve")


def test_a_token_goes_to_the_hub_and_not_to_its_storage(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    bring(server, tmp_path)
    told = {request.place: request.authorization for request in server.requests}
    assert told == {"api": "Bearer hf_secret", "resolve": "Bearer hf_secret", "storage": None}


def test_the_next_repository_is_asked_for_what_the_first_lacks(server: HubServer, tmp_path: Path) -> None:
    assert bring(server, tmp_path, "IQ3_M").read_bytes() == CONTENT[::-1]


def test_what_no_repository_has_whole_is_refused_with_what_there_is(server: HubServer) -> None:
    for wanted in ("IQ3_L", "BF16"):
        with pytest.raises(HubError, match=f"{wanted} is not published") as caught:
            Hub(server.url).find(wanted, [REPOSITORY, OTHER])
        assert "There are: Q8_0, Q4_K_M, IQ3_M." in caught.value.hint
    with pytest.raises(HubError) as caught:
        Hub(server.url).find("q4km", [REPOSITORY])
    assert "Did you mean Q4_K_M?" in caught.value.hint


def test_a_repository_that_is_gone_is_passed_over_and_told_where_it_was_the_only_one(server: HubServer) -> None:
    assert Hub(server.url).find("Q4_K_M", ["Qwen/Gone", REPOSITORY])[0].repository == REPOSITORY
    with pytest.raises(HubError, match=r"no repository Qwen/Gone, or it is private") as caught:
        Hub(server.url).find("Q4_K_M", ["Qwen/Gone"])
    assert "hf auth login" in caught.value.hint
    with pytest.raises(HubError, match="is no name of a repository"):
        Hub(server.url).files("not a name")
    with pytest.raises(HubError, match="has no revision 'v9'"):
        Hub(server.url).files(REPOSITORY, "v9")


@pytest.mark.parametrize(
    ("fault", "says", "hints"),
    [
        (Fault("status", 401), "HTTP 401", "hf auth login"),
        (Fault("status", 403), "HTTP 403", "hf auth login"),
        (Fault("status", 403, "GatedRepo"), "open only to those", "hf auth login"),
        (Fault("status", 404, "EntryNotFound"), "lost the file", "--repo"),
        (Fault("status", 400), "HTTP 400", "Try again later"),
        (Fault("status", 416), "HTTP 416", "Try again later"),
        (Fault("status", 429, retry_after="3600"), "asks to wait 3600 s", "Try again later"),
    ],
)
def test_a_refusal_that_lasts_is_told_at_once_and_the_part_stays(
    server: HubServer, tmp_path: Path, fault: Fault, says: str, hints: str
) -> None:
    server.fail(("storage", Fault("cut", after=50_000)), ("resolve", fault))
    ears = Ears()
    with pytest.raises(HubError, match=says) as caught:
        bring(server, tmp_path, ears=ears)
    assert hints in caught.value.hint
    assert ears.slept == [1]
    assert [part.stat().st_size for part in parts(tmp_path)] == [50_000]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_refusal_that_passes_is_waited_for(server: HubServer, tmp_path: Path, status: int) -> None:
    server.fail(("resolve", Fault("status", status, retry_after="7")), ("storage", Fault("status", status)))
    ears = Ears()
    assert bring(server, tmp_path, ears=ears).read_bytes() == CONTENT
    assert ears.slept == ([7, 2] if status == 429 else [1, 2])


def test_a_hub_that_stays_down_is_told_after_some_tries(server: HubServer, tmp_path: Path) -> None:
    server.next_fault = lambda place: Fault("status", 503) if place == "storage" else None
    ears = Ears()
    with pytest.raises(HubError, match="HTTP 503") as caught:
        bring(server, tmp_path, ears=ears)
    assert ears.slept == [1, 2, 4, 8, 16]
    assert "goes on" in caught.value.hint


@pytest.mark.parametrize(("status", "says"), [(401, "HTTP 401"), (403, "HTTP 403"), (500, "HTTP 500"), (429, "HTTP 429")])
def test_a_hub_that_refuses_the_list_says_so(server: HubServer, status: int, says: str) -> None:
    server.fail(("api", Fault("status", status)))
    with pytest.raises(HubError, match=says):
        Hub(server.url).find("Q4_K_M", [REPOSITORY])


def test_no_network_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub = Hub("http://127.0.0.1:9")
    with pytest.raises(HubError, match="connection to the hub failed") as caught:
        hub.find("Q4_K_M", [REPOSITORY])
    assert "Check the network" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_offline_asks_nobody(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(server.url, is_offline=True)
    with pytest.raises(HubError, match="--offline or HF_HUB_OFFLINE"):
        hub.find("Q4_K_M", [REPOSITORY])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for ask in (
        lambda: Hub(server.url).files(REPOSITORY),
        lambda: next(Hub(server.url).stream(Record(REPOSITORY, COMMIT, "a", 1, "b"), 0)),
    ):
        with pytest.raises(HubError, match="--offline or HF_HUB_OFFLINE"):
            ask()
    assert not server.requests
