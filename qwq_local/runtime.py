"""From settings to a running model: `QwQ`, the Python API."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Self, Unpack

from qwq_local.answering import AnswerStream, Gathered, Reply, ToolCall
from qwq_local.asking import AnswerOptions, AnswerWish, Reach, Tools, make_request
from qwq_local.backend import Rope
from qwq_local.engine import Answering, Event, Failed, Finished, Request, Snapshot, Thinking
from qwq_local.errors import DecodeError, EmptyPromptError, ModelClosedError, PromptError, SettingsError, TemplateError
from qwq_local.loading import OpenModel, Serving, open_here, open_in_process
from qwq_local.prompt import ChatTemplate, Message, Prompt
from qwq_local.race import RaceStream, check_room
from qwq_local.settings import KvType, LoadSettings, RaceSettings, RopeWish
from qwq_local.worker import ProcessStatus

__all__ = ["Answering", "Event", "Failed", "Finished", "QwQ", "Reply", "Thinking", "ToolCall"]


_OnStop = Callable[[Finished, Gathered], None]


class QwQ:
    """A loaded model that answers. Use it as a context manager, so that its memory is given back.

    `notices` are things about the model that its user should know; `plan` says how it was loaded, and on what.
    """

    def __init__(self, opened: OpenModel, settings: LoadSettings, *, reads_ahead: bool = True) -> None:
        self.model = opened.plan.file
        self.plan = opened.plan
        self._template, notice = _choose_template(opened.chat_template, opened.vocabulary.markers)
        self.notices = [text for text in (*opened.plan.notices, notice) if text]
        self._expectation = opened.plan.expectation
        self._company = _Company()
        self._vocabulary = opened.vocabulary
        self._reach = Reach(self.model.native_ctx, opened.n_ctx, self.model.longest_ctx, settings.rope)
        self._engine = opened.engine
        self._n_parallel = settings.n_parallel
        self._supervisor = opened.supervisor
        self._reads_ahead = reads_ahead
        self._afterwards = ThreadPoolExecutor(1, "qwq-afterwards")
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
        rope: RopeWish = LoadSettings.rope,
        force: bool = False,
        n_parallel: int = LoadSettings.n_parallel,
        draft_model: str | None = None,
        speculates: bool = LoadSettings.speculates,
        reads_ahead: bool = True,
        keeps_chats: bool = False,
        isolated: bool = False,
        idle_seconds: float | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Self:
        """Load a model: `demo`, a name that `qwq list` shows, the path of a GGUF file, or what suits this machine best of what is here.

        `n_ctx` counts the tokens of prompt and answer together; by default it is what the model reads without YaRN, or less where the
        memory holds less. `n_parallel` answers at once share them. `force` loads what does not fit. `on_progress` is told the share loaded,
        0.0 to 1.0.

        `draft_model` is named as `model` is: a much smaller model of the same tokens, which guesses what comes next. Answers are those of
        `model` all the same. Guesses are also taken from what was read and written before; without `speculates` there are none. An answer
        with a `seed` is written without any, since floats differ a little with how many tokens are read at once.

        `reads_ahead`: after an answer what the next turn will send again is read while nothing else runs. `keeps_chats`: what was read of
        idle chats is kept on disk when the model is closed, and found there the next time.

        `isolated` runs the model in a process of its own: should that die, its requests end with a WorkerDiedError, and it is started
        again. There the model is unloaded after `idle_seconds` without requests, where they are given, and loaded again on demand.

        Raises SettingsError, ModelFileError (UnfitDraftError where the draft model cannot guess for it), DoesNotFitError or LoadError;
        WorkerDiedError where it is isolated.
        """
        settings = LoadSettings(n_ctx, n_gpu_layers, kv_type, rope, force, n_parallel, draft_model, speculates)
        serving = Serving(keeps_chats, idle_seconds)
        if isolated:
            opened = open_in_process(model, settings, on_progress, serving)
        elif idle_seconds is not None:
            raise SettingsError("A model is only unloaded after idle_seconds where it is isolated.", hint="Load it with isolated=True.")
        else:
            opened = open_here(model, settings, on_progress, serving)
        return cls(opened, settings, reads_ahead=reads_ahead)

    def chat(self, messages: str | Sequence[Message], *, tools: Tools | None = None, **options: Unpack[AnswerOptions]) -> Reply:
        """Answer a conversation, or a single question. Arguments and errors are those of `stream`."""
        with self.stream(messages, tools=tools, **options) as events:
            for event in events:
                if isinstance(event, Finished):
                    return events.gathered.reply(self.model.name, event)
        raise AssertionError("a stream ends in a terminal event")

    def stream(self, messages: str | Sequence[Message], *, tools: Tools | None = None, **options: Unpack[AnswerOptions]) -> AnswerStream:
        """The events of an answer as they come: Thinking, Answering, tool calls, what else a user should know of, and Finished at the end.

        `messages` are {"role", "content"} mappings, or one question as a string; `tools` are OpenAI's tool descriptions. `options` take the
        fields of `settings.Sampling` and of `settings.AnswerSettings`, and one of `schema`, `constraint` and `tool_choice`, which hold for
        what follows the thought. With `race` or `vote` so many samples of the answer are written at once; the events are those of the one
        that is chosen, once it is, and Racing until then. Raises SettingsError, PromptError (ContextLengthError where the prompt does not
        fit) or DecodeError. Leaving the loop early cancels the answer.
        """
        if options.get("tool_choice") == "none":
            tools = None
        wish = AnswerWish.of(options, tools)
        conversation = _conversation(messages)
        prompt = self.render(conversation, tools)
        if not wish.answer.thinks:
            prompt = prompt.without_thought()
        request = make_request(self.tokenize(prompt), wish, self._reach, opens_thinking=prompt.opens_thinking, calls_tools=bool(tools))
        return self._submit(request, wish.race, partial(self._read_ahead, conversation, tools) if self._reads_ahead else None)

    def complete(self, prompt: str | Sequence[int], **options: Unpack[AnswerOptions]) -> AnswerStream:
        """Go on with a text, or with token ids, that no template is laid around; what is drawn comes as Answering, as it is.

        Markers in the text count: who writes whole prompts writes the template's part as well. `options` and errors are those of `stream`.
        """
        tokens = self.tokenize(self._template.raw(prompt)) if isinstance(prompt, str) else self._checked(prompt)
        wish = AnswerWish.of(options, None)
        request = make_request(tokens, wish, self._reach, opens_thinking=False, calls_tools=False, is_raw=True)
        return self._submit(request, wish.race, None)

    @property
    def n_ctx(self) -> int:
        """Tokens that prompt and answer may fill together."""
        return self._reach.longest

    @property
    def status(self) -> ProcessStatus | None:
        """How the model's process is; None where it has none of its own."""
        return self._supervisor.status if self._supervisor else None

    def keep(self, idle_seconds: float | None) -> None:
        """Unload an isolated model after so many seconds without requests, or never, until it is loaded again.

        A model that is not isolated stays loaded, and this does nothing. Raises DecodeError once it is closed.
        """
        if self._supervisor:
            self._supervisor.keep(idle_seconds)

    def wake(self) -> None:
        """Load an isolated model that is unloaded, and wait for it; every other is loaded already.

        Raises LoadError or WorkerDiedError, and DecodeError once it is closed.
        """
        if self._supervisor:
            self._supervisor.load()

    def snapshot(self) -> Snapshot | None:
        """The engine's numbers: requests, KV cache, speeds; None while no model is loaded."""
        return self._engine.snapshot()

    def tokenize(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt: markers looked up, everything else read as ordinary text. Raises DecodeError once it is closed."""
        tokens: list[int] = []
        with self._closing:
            if self._is_closed:
                raise ModelClosedError("The model is closed.", hint="Load it again.")
            for segment in prompt.segments:
                tokens.extend([self._vocabulary.markers[segment.text]] if segment.is_marker else self._vocabulary.tokenize(segment.text))
        return tuple(tokens)

    def render(self, messages: str | Sequence[Message], tools: Tools | None = None) -> Prompt:
        """The prompt a conversation becomes."""
        return self._template.render(_conversation(messages), tools)

    def close(self) -> None:
        """Cancel what runs and free the memory. Closing again does nothing."""
        self._afterwards.shutdown(cancel_futures=True)
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

    def _checked(self, tokens: Sequence[int]) -> tuple[int, ...]:
        n_tokens = self._vocabulary.n_tokens
        wrong = next((token for token in tokens if not 0 <= token < n_tokens), None)
        if wrong is not None:
            raise PromptError(f"The prompt has the token {wrong}, and the model knows {n_tokens:,} tokens.", hint="Count them from 0.")
        if not tokens:
            raise EmptyPromptError("The prompt is empty.", hint="Send tokens to go on with.")
        return tuple(tokens)

    def _submit(self, request: Request, race: RaceSettings, on_stop: _OnStop | None) -> AnswerStream:
        check_room(race, self._n_parallel, self._reach.n_ctx, len(request.prompt), request.max_tokens)
        with ExitStack() as stack:
            visit = stack.enter_context(self._company.visit())
            on_end = partial(self._end, on_stop, visit, request.rope)
            is_race = race.n_samples > 1
            stream = RaceStream(self._engine, request, race) if is_race else self._engine.submit(request)
            return AnswerStream(stream, on_end, stack.pop_all(), len(request.prompt))

    def _end(self, on_stop: _OnStop | None, visit: _Visit, rope: Rope, end: Finished, found: Gathered) -> None:
        if end.reason == "cancelled":
            return
        is_alone = visit.is_alone and end.race is None
        if is_alone and end.rope == rope and self._expectation:
            usage = end.usage
            n_filled = usage.prompt_tokens + usage.completion_tokens // 2
            self._expectation.learn(end.timings.plain_steps, end.timings.plain_seconds, n_filled)
        if on_stop and end.reason == "stop":
            with suppress(RuntimeError):  # closed meanwhile
                self._afterwards.submit(on_stop, end, found).add_done_callback(_log_failure)

    def _read_ahead(self, messages: Sequence[Message], tools: Tools | None, end: Finished, found: Gathered) -> None:
        try:
            tokens = self.tokenize(self._template.render([*messages, found.message()], tools, is_history=True))
        except (PromptError, DecodeError):  # a template that refuses this history, or a model just closed: then the next turn reads it
            return
        self._engine.preread(tokens, end.rope)


def _log_failure(done: Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()):
        logging.getLogger(__name__).error("What follows an answer failed", exc_info=error)


@dataclass(eq=False)
class _Visit:
    is_alone: bool


class _Company:
    """Tells the answers that were never beside another."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a stream that the garbage collector finds meanwhile leaves in the same thread
        self._present: set[_Visit] = set()

    @contextmanager
    def visit(self) -> Iterator[_Visit]:
        with self._lock:
            visit = _Visit(is_alone=not self._present)
            for other in list(self._present):
                other.is_alone = False
            self._present.add(visit)
        try:
            yield visit
        finally:
            with self._lock:
                self._present.remove(visit)


def _conversation(messages: str | Sequence[Message]) -> Sequence[Message]:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages


def _choose_template(source: str | None, markers: Mapping[str, int]) -> tuple[ChatTemplate, str]:
    if source is None:
        return ChatTemplate.qwq(markers), ""
    try:
        return ChatTemplate(source, markers), ""
    except TemplateError as error:
        return ChatTemplate.qwq(markers), f"{error} QwQ's own template is used instead."
