"""A draft model loaded beside the built-in one, and those that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from qwq_local.backend import BatchToken, InterruptedDecodeError
from qwq_local.errors import DamagedFileError, LoadError, ModelNotFoundError, UnfitDraftError, WrongArchitectureError
from qwq_local.llama import LlamaBackend
from qwq_local.llama._context import context_params
from qwq_local.loading import LoadPlan, open_backend, plan_load
from qwq_local.models.inventory import demo_model
from qwq_local.models.tokens import TEXTS
from qwq_local.runtime import QwQ
from qwq_local.settings import LoadSettings
from tests.drafts import write_with_tokens
from tests.memory_probe import MemoryProbe
from tests.programs import posix
from tests.waiting import soon, wait_until

SUM = "What is 47 + 85?"
ROUNDING_BYTES = 3 * 2**20 // 100
"""llama.cpp logs hundredths of a MiB; the host has two buffers."""


def planned(draft: Path | str, **load: Any) -> LoadPlan:
    return plan_load("demo", LoadSettings(draft_model=str(draft), **load))


@pytest.fixture(scope="module")
def both(nano_draft: Path) -> Iterator[LlamaBackend]:
    with closing(open_backend(planned(nano_draft, n_ctx=1024), "native")) as backend:
        yield backend


def draft_of(backend: LlamaBackend) -> LlamaBackend:
    assert backend.draft is not None
    return backend.draft


def read(backend: LlamaBackend, tokens: list[int]) -> list[float]:
    backend.decode([BatchToken(token, i, 0, wants_logits=i == len(tokens) - 1) for i, token in enumerate(tokens)])
    logits = backend.logits(len(tokens) - 1)
    backend.truncate(0, 0)
    return logits


def test_it_is_there_with_as_many_sequences_and_room_for_each_ones_logits(both: LlamaBackend) -> None:
    draft = draft_of(both)
    assert (draft.n_sequences, draft.n_outputs) == (both.n_sequences, both.n_sequences)
    assert (draft.n_ctx, draft.n_cells) == (1024, 1024)
    assert draft.draft is None
    assert draft.vocabulary.n_tokens == both.vocabulary.n_tokens
    tokens = both.vocabulary.tokenize(SUM)
    ours, guessed = read(both, tokens), read(draft, tokens)
    assert ours != guessed
    assert ours.index(max(ours)) == guessed.index(max(guessed))


def test_without_one_there_is_none() -> None:
    with closing(open_backend(plan_load("demo", LoadSettings()), "native")) as backend:
        assert backend.draft is None


def test_its_positions_are_scaled_when_the_models_are(both: LlamaBackend) -> None:
    tokens = both.vocabulary.tokenize(SUM)
    native = read(draft_of(both), tokens)
    both.use_rope("yarn")
    assert draft_of(both).rope == "yarn"
    assert read(draft_of(both), tokens) != native
    both.use_rope("native")
    assert read(draft_of(both), tokens) == native


def test_an_interrupt_ends_its_decode_too(both: LlamaBackend) -> None:
    tokens = both.vocabulary.tokenize(SUM)
    both.interrupt()
    with pytest.raises(InterruptedDecodeError):
        read(draft_of(both), tokens)
    both.rearm()
    draft_of(both).truncate(0, 0)
    assert read(draft_of(both), tokens)


def test_it_is_closed_with_the_model(nano_draft: Path) -> None:
    backend = open_backend(planned(nano_draft), "native")
    backend.close()
    assert not draft_of(backend)._context.handle
    assert not draft_of(backend)._model.handle


def test_an_answer_is_the_models_own(demo: QwQ, nano_draft: Path) -> None:
    alone = demo.chat(SUM, temperature=0)
    with QwQ.load("demo", draft_model=str(nano_draft)) as qwq:
        reply = qwq.chat(SUM, temperature=0)
    assert (reply.reasoning, reply.content) == (alone.reasoning, alone.content)


def test_loading_tells_of_both_as_one(nano_draft: Path) -> None:
    heard: list[float] = []
    open_backend(planned(nano_draft), "native", heard.append).close()
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    share = demo_model().file_bytes / (demo_model().file_bytes + nano_draft.stat().st_size)
    assert any(abs(each - share) < 0.05 for each in heard)


def test_what_both_take_is_what_llama_cpp_says(nano_draft: Path) -> None:
    plan = planned(nano_draft, n_ctx=2048)
    assert plan.draft is not None
    said = 0
    with closing(open_backend(plan, "native")) as backend:
        for file, opened in ((plan.file, backend), (plan.draft.file, draft_of(backend))):
            with MemoryProbe(file.path, 0) as probe:
                said += sum(part.total_bytes for part in probe.measure(context_params(opened._shape, "native")))
    assert abs(sum(part.total_bytes for part in (*plan.placement.memory, *plan.draft.placement.memory)) - said) <= 2 * ROUNDING_BYTES


@pytest.mark.slow
@posix
def test_in_a_process_of_its_own_it_comes_back_after_a_death_from_wherever_one_is(
    nano_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(nano_draft.parent)
    heard: list[float] = []
    with QwQ.load("demo", draft_model=nano_draft.name, isolated=True, on_progress=heard.append) as qwq:
        monkeypatch.chdir("/")
        assert heard == sorted(heard)
        assert heard[-1] == 1.0
        right = soon(lambda: qwq.chat(SUM, temperature=0, max_tokens=8)).reasoning
        process = qwq.status
        assert process is not None
        assert process.pid is not None
        opened = {Path(file.path) for file in psutil.Process(process.pid).memory_maps()}
        assert {demo_model().path, nano_draft} <= opened
        psutil.Process(process.pid).kill()
        wait_until(lambda: qwq.status is not None and qwq.status.deaths == 1)
        assert soon(lambda: qwq.chat(SUM, temperature=0, max_tokens=8)).reasoning == right


@pytest.mark.slow
def test_errors_about_it_are_the_same_from_another_process(tmp_path: Path, nano_draft: Path) -> None:
    odd = write_with_tokens(tmp_path / "odd.gguf", lambda metadata: metadata[TEXTS].__setitem__(65, "odd"), nano_draft)
    told = []
    for isolated in (False, True):
        with pytest.raises(UnfitDraftError) as caught:
            QwQ.load("demo", draft_model=str(odd), isolated=isolated)
        told.append((str(caught.value), caught.value.hint))
    assert told[0] == told[1]


# How much it reads


@pytest.mark.parametrize(
    ("load", "n_ctx"),
    [({}, 512), ({"n_ctx": 300}, 300), ({"n_ctx": 2048}, 1024), ({"n_ctx": 512, "rope": "yarn"}, 512), ({"rope": "native"}, 512)],
)
def test_it_has_the_models_context_or_what_its_own_file_reads(load: dict[str, Any], n_ctx: int, nano_draft: Path, tmp_path: Path) -> None:
    """This one stretches to 1,024 tokens only."""
    short = write_with_tokens(tmp_path / "short.gguf", lambda metadata: metadata.update({"qwen2.rope.scaling.factor": 2.0}), nano_draft)
    plan = planned(short, **load)
    assert plan.draft is not None
    assert plan.draft.placement.n_ctx == n_ctx
    told = f"The draft model {short} guesses within the first 1,024 tokens only."
    assert plan.notices == ((told,) if load == {"n_ctx": 2048} else ())


# Refused before anything is loaded


def test_a_draft_of_other_tokens_is_refused_by_the_first_of_them(tmp_path: Path, nano_draft: Path) -> None:
    odd = write_with_tokens(tmp_path / "odd.gguf", lambda metadata: metadata[TEXTS].__setitem__(65, "odd"), nano_draft)
    with pytest.raises(
        UnfitDraftError, match=r"cannot guess for demo\. 1 of its 512 tokens .* 65 is 'odd' \(normal\) instead of 'b'"
    ) as refused:
        planned(odd)
    assert "tokenizer of demo" in refused.value.hint


def test_a_draft_that_is_no_smaller_is_refused_with_both_sizes(tmp_path: Path, nano_draft: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(demo_model().path.read_bytes())
    with pytest.raises(UnfitDraftError, match="has 3 MiB of weights, and demo itself has 3 MiB"):
        planned(copy)
    with pytest.raises(UnfitDraftError, match=r"demo has 3 MiB of weights, and .* itself has 1 MiB"):
        plan_load(str(nano_draft), LoadSettings(draft_model="demo"))


def test_a_model_does_not_guess_for_itself(tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(demo_model().path)
    for name in ("demo", link):
        with pytest.raises(UnfitDraftError, match="is the model itself"):
            planned(name)


def test_a_file_that_cannot_be_used_is_told_to_be_the_draft(tmp_path: Path, nano_draft: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"The draft model cannot be used: The model 'nowhere\.gguf' does not exist"):
        planned("nowhere.gguf")
    short = tmp_path / "short.gguf"
    short.write_bytes(nano_draft.read_bytes()[:-1000])
    with pytest.raises(DamagedFileError, match=r"The draft model cannot be used: .* ends 1,000 bytes before"):
        planned(short)
    other = write_with_tokens(tmp_path / "llama.gguf", lambda metadata: metadata.update({"general.architecture": "llama"}), nano_draft)
    with pytest.raises(WrongArchitectureError, match=r"The draft model cannot be used: .* architecture 'llama'"):
        planned(other)


def test_a_draft_that_llama_cpp_refuses_leaves_nothing_loaded(tmp_path: Path, nano_draft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lame = write_with_tokens(tmp_path / "lame.gguf", lambda metadata: metadata.pop("qwen2.attention.layer_norm_rms_epsilon"), nano_draft)
    closed: list[LlamaBackend] = []
    close = LlamaBackend.close

    def note_and_close(backend: LlamaBackend) -> None:
        closed.append(backend)
        close(backend)

    monkeypatch.setattr(LlamaBackend, "close", note_and_close)
    with pytest.raises(LoadError, match=r"The draft model cannot be used: llama\.cpp could not load"):
        open_backend(planned(lame), "native")
    assert len(closed) == 1
