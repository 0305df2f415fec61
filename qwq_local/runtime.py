"""From settings to a running model: `QwQ`, the Python API."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypedDict, Unpack

from qwq_local.backend import Rope
from qwq_local.engine import (
    Answering,
    Event,
    Failed,
    Finished,
    FinishReason,
    Progress,
    Request,
    Stream,
    Thinking,
    Timings,
    Usage,
)
from qwq_local.errors import ContextLengthError, DecodeError, SettingsError, TemplateError
from qwq_local.loading import OpenModel, open_here, open_in_process
from qwq_local.prompt import ChatTemplate, Message, Prompt
from qwq_local.settings import MAX_SEED, KvType, LoadSettings, RopeWish, Sampling, check_max_tokens

__all__ = ["Answering", "Event", "Failed", "Finished", "QwQ", "Reply", "Thinking"]


class SamplingOptions(TypedDict, total=False):
    """The fields of `settings.Sampling`, as keyword arguments."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    presence_penalty: float
    seed: int | None
    repeat_penalty: float
    frequency_penalty: float
    penalty_last_n: int
    typical_p: float
    top_n_sigma: float
    xtc_probability: float
    xtc_threshold: float
    dynatemp_range: float
    dynatemp_exponent: float
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: tuple[str, ...]
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    logit_bias: tuple[tuple[int, float], ...]
    n_logprobs: int | None


@dataclass(frozen=True)
class Reply:
    """A whole answer: the thought, what is meant for the user, and how it ended."""

    model: str
    reasoning: str
    content: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    rope: Rope
    seed: int


class QwQ:
    """A loaded model that answers. Use it as a context manager, so that its memory is given back.

    `notices` are things about the model that its user should know.
    """

    def __init__(self, opened: OpenModel, settings: LoadSettings) -> None:
        self.model = opened.plan.file
        self._template, notice = _choose_template(opened.chat_template, opened.vocabulary.markers)
        self.notices = [text for text in (opened.plan.notice, notice) if text]
        self._expectation = opened.plan.expectation
        self._company = _Company()
        self._vocabulary = opened.vocabulary
        self._n_ctx = opened.n_ctx
        self._rope_wish = settings.rope
        self._engine = opened.engine
        self._free = opened.close
        self._closing = threading.Lock()
        self._is_closed = False

    @classmethod
    def load(  # noqa: PLR0913 - what a user may choose, by keyword
        cls,
        model: str | None = None,
        *,
        n_ctx: int | None = None,
        n_gpu_layers: int | None = None,
        kv_type: KvType | None = None,
        rope: RopeWish = "auto",
        force: bool = False,
        isolated: bool = False,
        idle_seconds: float | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Self:
        """Load a model: `demo`, a name that `qwq list` shows, the path of a GGUF file, or what suits this machine best of what is here.

        `n_ctx` counts the tokens of prompt and answer together; by default it is what the model reads without YaRN, or less where the
        memory holds less. `force` loads what does not fit. `on_progress` is told the share loaded, 0.0 to 1.0.

        `isolated` runs the model in a process of its own: should that die, its requests end with a WorkerDiedError, and it is started
        again. There the model is unloaded after `idle_seconds` without requests, where they are given, and loaded again on demand.

        Raises SettingsError, ModelFileError, DoesNotFitError or LoadError; WorkerDiedError where it is isolated.
        """
        settings = LoadSettings(n_ctx, n_gpu_layers, kv_type, rope, force)
        if isolated:
            return cls(open_in_process(model, settings, on_progress, idle_seconds), settings)
        if idle_seconds is not None:
            raise SettingsError("A model is only unloaded after idle_seconds where it is isolated.", hint="Load it with isolated=True.")
        return cls(open_here(model, settings, on_progress), settings)

    def chat(
        self,
        messages: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_tokens: int | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Reply:
        """Answer a conversation, or a single question. Arguments and errors are those of `stream`."""
        parts: dict[type, list[str]] = {Thinking: [], Answering: []}
        with closing(self.stream(messages, tools=tools, max_tokens=max_tokens, **sampling)) as events:
            for event in events:
                if isinstance(event, Finished):
                    return self._reply("".join(parts[Thinking]), "".join(parts[Answering]), event)
                if isinstance(event, Thinking | Answering):
                    parts[type(event)].append(event.text)
        raise AssertionError("a stream ends in a terminal event")

    def stream(
        self,
        messages: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_tokens: int | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Generator[Progress | Finished]:
        """Yield Thinking and Answering events as they come, what else a user should know of, and Finished at the end.

        `messages` are {"role", "content"} mappings, or one question as a string; `tools` are OpenAI's tool descriptions; `max_tokens`
        counts thoughts too; `sampling` takes the fields of `settings.Sampling`. Raises SettingsError, PromptError (ContextLengthError
        where the prompt does not fit) or DecodeError. Leaving the loop early cancels the answer.
        """
        with closing(self._submit(messages, tools, max_tokens, Sampling(**sampling))) as events, self._company.visit() as visit:
            for event in events:
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Finished) and visit.is_alone:
                    self._learn(event)
                yield event

    def tokenize(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt: markers looked up, everything else read as ordinary text. Raises DecodeError once it is closed."""
        tokens: list[int] = []
        with self._closing:
            if self._is_closed:
                raise DecodeError("The model is closed.", hint="Load it again.")
            for segment in prompt.segments:
                tokens.extend([self._vocabulary.markers[segment.text]] if segment.is_marker else self._vocabulary.tokenize(segment.text))
        return tuple(tokens)

    def render(self, messages: str | Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None) -> Prompt:
        """The prompt a conversation becomes."""
        return self._template.render([{"role": "user", "content": messages}] if isinstance(messages, str) else messages, tools)

    def close(self) -> None:
        """Cancel what runs and free the memory. Closing again does nothing."""
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                self._free()

    def __enter__(self) -> Self:
        """Nothing to open: the model is loaded already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _submit(
        self,
        messages: str | Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        max_tokens: int | None,
        sampling: Sampling,
    ) -> Stream:
        check_max_tokens(max_tokens)
        prompt = self.render(messages, tools)
        tokens = self.tokenize(prompt)
        self._require_room(len(tokens))
        rope = choose_rope(self._rope_wish, len(tokens), max_tokens, self.model.native_ctx, self._n_ctx)
        request = Request(
            prompt=tokens,
            n_ctx=min(self._n_ctx, self.model.native_ctx) if rope == "native" else self._n_ctx,
            rope=rope,
            opens_thinking=prompt.opens_thinking,
            sampling=sampling,
            seed=secrets.randbelow(MAX_SEED + 1) if sampling.seed is None else sampling.seed,
            max_tokens=max_tokens,
        )
        return self._engine.submit(request)

    def _require_room(self, prompt_tokens: int) -> None:
        native_only = self._rope_wish == "native"
        n_ctx = min(self._n_ctx, self.model.native_ctx) if native_only else self._n_ctx
        if prompt_tokens >= n_ctx:
            raise ContextLengthError(prompt_tokens, n_ctx, self.model.native_ctx if native_only else self.model.longest_ctx)

    def _learn(self, end: Finished) -> None:
        if self._expectation and end.reason != "cancelled":
            usage = end.usage
            n_filled = usage.prompt_tokens + usage.completion_tokens // 2
            self._expectation.learn(usage.completion_tokens, end.timings.decode_seconds, n_filled)

    def _reply(self, reasoning: str, content: str, end: Finished) -> Reply:
        return Reply(self.model.name, reasoning, content, end.reason, end.usage, end.timings, end.rope, end.seed)


@dataclass(eq=False)
class _Visit:
    is_alone: bool


class _Company:
    """Tells the answers that were never beside another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._present: set[_Visit] = set()

    @contextmanager
    def visit(self) -> Iterator[_Visit]:
        with self._lock:
            visit = _Visit(is_alone=not self._present)
            for other in self._present:
                other.is_alone = False
            self._present.add(visit)
        try:
            yield visit
        finally:
            with self._lock:
                self._present.remove(visit)


def choose_rope(wish: RopeWish, prompt_tokens: int, max_tokens: int | None, native_ctx: int, n_ctx: int) -> Rope:
    """YaRN only for what does not fit the native context, since it hurts short texts (QwQ's fifth guideline). Pure."""
    if wish != "auto":
        return wish
    wanted_tokens = prompt_tokens + (max_tokens or 1)
    return "yarn" if min(wanted_tokens, n_ctx) > native_ctx else "native"


def _choose_template(source: str | None, markers: Mapping[str, int]) -> tuple[ChatTemplate, str]:
    if source is None:
        return ChatTemplate.qwq(markers), ""
    try:
        return ChatTemplate(source, markers), ""
    except TemplateError as error:
        return ChatTemplate.qwq(markers), f"{error} QwQ's own template is used instead."
