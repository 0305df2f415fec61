"""What ours is measured against, llama.cpp's own server and llama-cpp-python's, and our own endpoint beside them; all on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.endpoint import serve
from qwq_local import card
from qwq_local.llama import FileVocabulary
from qwq_local.llama._amx import extra_buffers_work
from qwq_local.machine.hardware import usable_cores

PATIENCE_SECONDS: Final = 300.0
SAMPLING: Final = {"temperature": card.TEMPERATURE, "top_p": card.TOP_P, "top_k": card.TOP_K, "min_p": card.MIN_P}
UNENDING: Final = {"ignore_eos": True, "cache_prompt": True, "samplers": ["top_k", "top_p", "temperature"]}
"""What llama.cpp's server takes beside: no end before the last token asked for, and QwQ's order of samplers."""


@dataclass(frozen=True)
class Peer:
    """A server that answers at `url`; `path` takes a completion of token ids, or of as many letters where it `takes_text` only.

    `options` go with every completion.
    """

    url: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)
    takes_text: bool = False

    def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON of any shape
        """Send one request and wait for the whole answer."""
        with self._open(path, body) as answer:
            return json.loads(answer.read())

    def first_token_seconds(self, prompt: Sequence[int], n_tokens: int) -> float:
        """From sending a prompt to the first piece of a streamed answer; the rest of it is awaited too."""
        started_at = time.perf_counter()
        with self._open(self.path, self.body(prompt, n_tokens) | {"stream": True}) as answer:
            answer.readline()
            first = time.perf_counter() - started_at
            answer.read()
        return first

    def prefill_tokens_per_second(self, prompt: Sequence[int]) -> float:
        """Tokens of a prompt, as many as the server counts, over the time until one token is written."""
        started_at = time.perf_counter()
        answer = self.post(self.path, self.body(prompt, 1))
        seconds = time.perf_counter() - started_at
        return float(answer["tokens_evaluated"] if "tokens_evaluated" in answer else answer["usage"]["prompt_tokens"]) / seconds

    def tokens_per_second(self, prompts: Sequence[Sequence[int]], n_tokens: int) -> float:
        """All prompts at once, so many tokens each."""
        started_at = time.perf_counter()
        with ThreadPoolExecutor(len(prompts)) as threads:
            counts = list(threads.map(lambda prompt: self._count(prompt, n_tokens), prompts))
        return sum(counts) / (time.perf_counter() - started_at)

    def _count(self, prompt: Sequence[int], n_tokens: int) -> int:
        answer = self.post(self.path, self.body(prompt, n_tokens))
        return int(answer["tokens_predicted"] if "tokens_predicted" in answer else answer["usage"]["completion_tokens"])

    def body(self, prompt: Sequence[int], n_tokens: int) -> dict[str, Any]:
        """What asks for so many tokens after a prompt."""
        content = "".join(chr(ord("a") + token % 26) for token in prompt) if self.takes_text else list(prompt)
        return {"prompt": content, "max_tokens": n_tokens, **self.options, **SAMPLING}

    def _open(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - an open answer
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
        return urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)  # noqa: S310 - a server of our own on loopback


@contextmanager
def our_server(model: Path, n_parallel: int, n_ctx: int, *options: object) -> Iterator[Peer]:
    """`qwq serve`, whose completions end at their last token only."""
    with closing(FileVocabulary(model)) as vocabulary:
        never = {str(token): -100 for token in vocabulary.end_tokens}
    with serve("-m", model, "--parallel", n_parallel, "--ctx", n_ctx, *options) as server:
        yield Peer(server.url, "/v1/completions", {"logit_bias": never, "stops_repetition": False})


@contextmanager
def llama_server(tools: Path, model: Path, n_parallel: int, n_ctx: int, *options: object) -> Iterator[Peer]:
    """The llama-server in `tools`: a unified KV cache of `n_ctx` tokens for `n_parallel` requests.

    It may lay weights out anew for this CPU where ours does: where the compiler broke llama.cpp's kernels for AMX, neither does.
    """
    n_threads = usable_cores()
    threads = ("-t", n_threads, "-tb", n_threads)
    batches = ("-np", n_parallel, "-c", n_ctx, "-b", 512, "-ub", 512, "-fa", "on", "--kv-unified")
    layout = () if extra_buffers_work() else ("--no-repack",)
    with _running([tools / "llama-server", "-m", model, *threads, *batches, *layout, "--no-webui", *options], "/health") as url:
        yield Peer(url, "/completion", UNENDING)


@contextmanager
def python_server(model: Path, n_ctx: int, python: str = sys.executable) -> Iterator[Peer]:
    """llama-cpp-python's own server, which has one sequence, run by an interpreter that has what it needs."""
    n_threads = usable_cores()
    flags = ["--model", model, "--n_ctx", n_ctx, "--n_threads", n_threads, "--n_threads_batch", n_threads, "--n_batch", 512]
    with _running([python, "-m", "llama_cpp.server", *flags, "--n_gpu_layers", -1, "--flash_attn", "true"], "/v1/models") as url:
        yield Peer(url, "/v1/completions", UNENDING, takes_text=True)


@contextmanager
def _running(command: Sequence[object], health: str) -> Iterator[str]:
    port = free_port()
    with subprocess.Popen(
        [*map(str, command), "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(server, url + health)
            yield url
        finally:
            server.terminate()


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    ends_at = time.perf_counter() + PATIENCE_SECONDS
    while time.perf_counter() < ends_at:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - as above
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


def free_port() -> int:
    """A port of this machine that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
