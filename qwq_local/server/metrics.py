"""Numbers for Prometheus: of the requests, as they end, and of the engine, as it is when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from qwq_local.engine import Finished
from qwq_local.server.answers import Answers
from qwq_local.server.desk import Desk
from qwq_local.server.guard import Visit

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_RATES: Final = (1, 2, 5, 10, 15, 20, 30, 40, 60, 80, 120, 250, 500, 1000)


class Metrics:
    """Counts visits, and tells all numbers in Prometheus' text format."""

    def __init__(self, desk: Desk) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(desk))
        ProcessCollector(registry=self._registry)
        self._requests = Counter("qwq_requests", "Requests by route and status", ["route", "status"], registry=self._registry)
        self._seconds = Histogram("qwq_request_seconds", "From request to last byte", ["route"], buckets=_SECONDS, registry=self._registry)
        self._queued = Histogram("qwq_queued_seconds", "Wait for a place in the batch", buckets=_SECONDS, registry=self._registry)
        self._first = Histogram("qwq_first_token_seconds", "From request to first token", buckets=_SECONDS, registry=self._registry)
        self._rate = Histogram("qwq_answer_tokens_per_second", "Decode speed of one answer", buckets=_RATES, registry=self._registry)

    def note(self, visit: Visit) -> None:
        """A request has ended."""
        self._requests.labels(visit.route, str(visit.status or 499)).inc()
        self._seconds.labels(visit.route).observe(visit.seconds)
        if visit.answers:
            self.note_answers(visit.answers)

    def note_answers(self, answers: Answers) -> None:
        """Answers have ended."""
        for end in answers.ends.values():
            if isinstance(end, Finished) and end.usage.completion_tokens:
                self._queued.observe(end.timings.queued_seconds)
                self._first.observe(end.timings.first_token_seconds)
                if end.timings.decode_seconds > 0:
                    self._rate.observe(end.usage.completion_tokens / end.timings.decode_seconds)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Reads the engine's snapshot; its sums begin anew with each process of the engine, which Prometheus' `rate` knows how to read."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        """All that is known now."""
        health = self._desk.health()
        yield _gauge("qwq_model_loaded", "1 while a model is loaded and answers", float(health.status == "ok"))
        yield _gauge("qwq_model_loaded_share", "Share of the model that is loaded", health.loaded_share)
        yield _gauge("qwq_open_answers", "Answers that are written or wait, of all requests", self._desk.n_open)
        yield _gauge("qwq_server_tasks", "Tasks of the server, this one among them", len(asyncio.all_tasks()))
        qwq = self._desk.qwq
        if qwq and qwq.status:
            yield _counter("qwq_engine_deaths", "Processes of the engine that died", [((), qwq.status.deaths)])
        if qwq and (numbers := qwq.snapshot()):
            yield _gauge("qwq_running", "Answers that are being written", numbers.running)
            yield _gauge("qwq_waiting", "Answers that wait for a place in the batch", numbers.waiting)
            yield _gauge("qwq_kv_cells_used", "Cells of the KV cache that hold a token", numbers.used_cells)
            yield _gauge("qwq_kv_cells", "Cells of the KV cache", numbers.all_cells)
            yield _gauge("qwq_yarn", "1 while the context is scaled by YaRN", float(numbers.rope == "yarn"))
            yield _gauge("qwq_decode_tokens_per_second", "Decode speed of all answers together, lately", numbers.decode_tokens_per_second)
            yield _gauge("qwq_prefill_tokens_per_second", "Prefill speed, lately", numbers.prefill_tokens_per_second)
            yield _counter("qwq_answers", "Answers by how they ended", [((k,), v) for k, v in numbers.finished.items()], ["reason"])
            yield _counter("qwq_failed_answers", "Answers lost to an error", [((), numbers.failed)])
            yield _counter("qwq_prompt_tokens", "Tokens of prompts", [((), numbers.prompt_tokens)])
            yield _counter("qwq_cached_prompt_tokens", "Of these, those that stood in the KV cache", [((), numbers.cached_prompt_tokens)])
            yield _counter("qwq_completion_tokens", "Tokens of answers, thoughts included", [((), numbers.completion_tokens)])
            yield _counter("qwq_reasoning_tokens", "Tokens of thoughts", [((), numbers.reasoning_tokens)])
            yield _counter("qwq_drafted_tokens", "Tokens that were guessed, and read along", [((), numbers.drafted_tokens)])
            yield _counter("qwq_accepted_tokens", "Of these, those that were right", [((), numbers.accepted_tokens)])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], labels: Iterable[str] = ()) -> Metric:
    family = CounterMetricFamily(name, text, labels=list(labels))
    for names, value in values:
        family.add_metric(list(names), value)
    return family
