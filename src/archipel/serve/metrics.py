"""A door's counts as Prometheus metrics, computed when asked; no name, key, prompt or answer is among them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from archipel.serve.tally import Spread, Tally

NO_ROUTE = "none"
"""Where requests count that no route takes: strangers cannot add rows."""
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WORDS = {
    "waiting": "Questions that wait for their turn",
    "running": "Sequences that are being sampled",
    "positions_read": "Tokens of prompts that were read",
    "positions_reused": "Tokens of prompts that were known from earlier ones of the same key",
    "prefix_blocks": "Blocks of beginnings that are held",
    "prefix_bytes": "Bytes of them",
    "tokens_guessed": "Tokens that were guessed before they were sampled, since the start",
    "guesses_stood": "Of those, the ones that were sampled",
    "passes_with_guesses": "Steps that checked some",
    "cascade_asked": "Questions to the cascade since the start",
    "cascade_kept": "Of those, answered by the small model",
    "cascade_straight": "Of those, answered by the large model alone",
    "cascade_escalated": "Of those, answered by the large model after the small one",
    "questions_left": "Questions that left this machine since the start",
    "bytes_left": "Bytes of questions that left this machine since the start",
    "routed_to_specialists": "Questions that a specialist answered since the start",
    "routed_to_generalist": "Questions that the generalist answered since the start",
}
Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]


class Counted:
    """An ASGI layer that counts each request by its route and status."""

    def __init__(self, app: App, tally: Tally, paths: Mapping[Any, str]) -> None:
        """paths: endpoint -> the path it was declared with."""
        self._app, self._tally, self._paths = app, tally, paths

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Let a request through."""
        status = 0

        async def said(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, said)
        finally:
            path = self._paths.get(scope.get("endpoint"), NO_ROUTE)
            self._tally.requests[path, status or 499] += 1


class _Collector:
    def __init__(self, tally: Tally, counts: Mapping[str, int], now_s: float) -> None:
        self._tally, self._counts, self._now_s = tally, counts, now_s

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        tally = self._tally
        labels = ["endpoint", "status"]
        requests = CounterMetricFamily("archipel_serve_requests", "Requests", labels=labels)
        for (path, status), count in sorted(tally.requests.items()):
            requests.add_metric([path, str(status)], count)
        refusals = CounterMetricFamily("archipel_serve_refusals", "Refusals", labels=["kind"])
        for kind, count in sorted(tally.refusals.items()):
            refusals.add_metric([kind], count)
        yield from (requests, refusals)
        sums = {"tokens": tally.num_tokens, "prompt_tokens": tally.num_prompt_tokens}
        for name, value in sums.items():
            yield CounterMetricFamily(f"archipel_serve_{name}", "Tokens since the start", value)
        rate = tally.tokens_per_s(self._now_s)
        yield GaugeMetricFamily("archipel_serve_tokens_per_second", "Of the last ten seconds", rate)
        yield _histogram("first_token", "From a question to its first token", tally.first)
        yield _histogram("between_tokens", "From a token to the next of its choice", tally.between)
        for name, value in self._counts.items():
            words = WORDS.get(name, "Of the engine")
            yield GaugeMetricFamily(f"archipel_serve_{name}", words, value)


def _histogram(name: str, words: str, spread: Spread) -> Metric:
    made = HistogramMetricFamily(f"archipel_serve_{name}_seconds", words)
    rows = [("+Inf" if bound == float("inf") else str(bound), n) for bound, n in spread.rows()]
    made.add_metric([], rows, spread.sum_s)
    return made


def prometheus_text(tally: Tally, counts: Mapping[str, int], now_s: float) -> bytes:
    """The exposition format. counts: of what waits and runs, and what the engine counts; now_s: of the loop's clock."""
    registry = CollectorRegistry()
    registry.register(_Collector(tally, counts, now_s))  # type: ignore[arg-type]  # a collector by shape
    return generate_latest(registry)
