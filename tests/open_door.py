"""An open door over toy hands, and clients that speak JSON to it in this process."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from archipel.door.accounts import Accounts
from archipel.door.bounds import Bounds
from archipel.door.door import Door, wall_ms
from archipel.door.http.app import make_app
from archipel.door.keys import SCOPES, USUAL
from toy_hands import BASE, ToyHands

POLL_S = 0.3


@dataclass
class Client:
    """One key's holder."""

    http: httpx.AsyncClient
    key: str
    session: str = ""

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {"x-api-key": self.key, **headers}
        content = None if body is None else json.dumps(body).encode()
        return await self.http.request(method, f"/api/v1/{path}", content=content, headers=sent)

    async def post(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        answer = await self.ask("POST", path, body or {}, **headers)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return dict(answer.json())

    async def begin(self) -> "Client":
        self.session = (await self.post("create_session", {"tags": [], "sdk_version": "0.38.0"}))[
            "session_id"
        ]
        return self

    async def end_of(self, future: str, tries: int = 60) -> dict[str, Any]:
        for _ in range(tries):
            answer = await self.ask("POST", "retrieve_future", {"request_id": future})
            if answer.status_code != 408:
                assert answer.status_code == 200, (answer.status_code, answer.text)
                return dict(answer.json())
        raise AssertionError("it never ended")

    async def model(self, number: int = 0, rank: int = 4, seed: int = 1) -> str:
        lora = {"rank": rank, "seed": seed}
        body = {
            "session_id": self.session,
            "model_seq_id": number,
            "base_model": BASE,
            "lora_config": lora,
        }
        future = await self.post("create_model", body)
        ended = await self.end_of(future["request_id"])
        assert "error" not in ended, ended
        return str(ended["model_id"])

    async def sampler(self, number: int, path: str | None = None) -> str:
        body = {
            "session_id": self.session,
            "sampling_session_seq_id": number,
            "base_model": BASE,
            "model_path": path,
        }
        return str((await self.post("create_sampling_session", body))["sampling_session_id"])


def training(
    model: str, seq: int, tokens: list[int], loss: str = "cross_entropy", **inputs: list[float]
) -> dict[str, Any]:
    """A forward_backward of one datum, each token asked for the next."""
    targets = {"target_tokens": {"data": tokens[1:], "dtype": "int64", "shape": [len(tokens) - 1]}}
    if loss == "cross_entropy":
        inputs.setdefault("weights", [1.0] * (len(tokens) - 1))
    floats = {
        name: {"data": values, "dtype": "float32", "shape": [len(values)]}
        for name, values in inputs.items()
    }
    chunk = {"type": "encoded_text", "tokens": tokens[:-1]}
    datum = {"model_input": {"chunks": [chunk]}, "loss_fn_inputs": targets | floats}
    return {
        "model_id": model,
        "seq_id": seq,
        "forward_backward_input": {"data": [datum], "loss_fn": loss},
    }


def step(model: str, seq: int, rate: float = 0.01) -> dict[str, Any]:
    return {"model_id": model, "seq_id": seq, "adam_params": {"learning_rate": rate}}


def sampling(sampler: str, seq: int, prompt: list[int], **more: Any) -> dict[str, Any]:
    params = {"max_tokens": 4, "seed": 3, "temperature": 1.0}
    said = {
        "sampling_session_id": sampler,
        "seq_id": seq,
        "num_samples": 1,
        "sampling_params": params,
    }
    return said | {"prompt": {"chunks": [{"type": "encoded_text", "tokens": prompt}]}} | more


@dataclass
class World:
    """A door, its hands and its keys."""

    door: Door
    hands: ToyHands
    accounts: Accounts
    http: httpx.AsyncClient
    clients: dict[str, Client] = field(default_factory=dict)

    async def client(
        self, name: str = "ada", scopes: tuple[str, ...] = USUAL, key: str | None = None
    ) -> Client:
        made = key or self.accounts.keys.make(name, scopes, wall_ms(), None)
        return await Client(self.http, made).begin()


@asynccontextmanager
async def world(
    folder: Path,
    hands: ToyHands | None = None,
    bounds: Bounds | None = None,
    now_ms: Callable[[], int] = wall_ms,
    ticks_ms: Callable[[], int] | None = None,
) -> AsyncIterator[World]:
    hands = hands or ToyHands()
    accounts = Accounts(folder)
    door = Door(
        hands, folder, accounts, bounds or Bounds(poll_s=POLL_S), now_ms, ticks_ms or now_ms
    )
    await door.start()
    transport = httpx.ASGITransport(make_app(door))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as http:
            yield World(door, hands, accounts, http)
    finally:
        await door.stop(5.0)
        accounts.close()


def run(story: Callable[[], Any]) -> None:
    """A coroutine to its end, within a deadline."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


ALL = SCOPES
