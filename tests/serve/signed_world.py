"""Served models whose answers are signed, who asks them together, and whoever recomputes what they get."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import torch

from archipel.engine.capacity import EngineLimits
from archipel.serve.access import Access
from archipel.serve.door import make_door
from archipel.serve.drafting import Draft
from archipel.serve.served import How, Served, serve_folder
from archipel.serve.signed.document import SignedAnswer, read_answer
from archipel.serve.signed.keeping import Bounds, Signing
from archipel.serve.signed.verifying import Recomputed, recompute
from archipel.work.folders import Folder, folder_of
from people import identity
from serve.served_models import NOW

LOCAL = "http://127.0.0.1:8450"
SIGNER = identity("signer")
LIMITS = EngineLimits.serving(2**26)
ANN, BOB = "sk-0123456789abcdef", "sk-fedcba9876543210"


def promised(path: Path, exact: str | None = None, draft: Draft = "none") -> Served:
    """The directory, served so that answers can be repeated."""
    how = How("tiny", LIMITS, weights="float32", draft=draft, exact=exact, is_deterministic=True)
    return serve_folder(folder_of(path), how, NOW)


class Place:
    """A door whose answers are signed."""

    def __init__(
        self, served: Mapping[str, Served], bounds: Bounds | None = None, keys: tuple[str, ...] = ()
    ) -> None:
        self.signing = Signing(SIGNER, bounds or Bounds())
        self.door = make_door(served, Access(keys=keys), signing=self.signing)

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """Of this process."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(self.door)
        return httpx.AsyncClient(transport=transport, base_url=LOCAL, headers=headers)

    async def signed(
        self, path: str, body: Mapping[str, Any], wait_s: float = 0.0, key: str | None = None
    ) -> bytes:
        """What is fetched behind one answer."""
        await asyncio.sleep(wait_s)
        async with self.client(key) as client:
            got = await client.post(path, json=body)
            assert got.status_code == 200, got.text
            found = await client.get(f"/v1/answers/{got.headers['archipel-answer']}")
            assert found.status_code == 200, found.text
            return found.content

    def together(self, asked: list[tuple[str, Mapping[str, Any]]]) -> list[bytes]:
        """All at once, some a little later than others."""

        async def ask() -> list[bytes]:
            each = (self.signed(path, body, n % 4 * 0.01) for n, (path, body) in enumerate(asked))
            return list(await asyncio.gather(*each))

        return asyncio.run(ask())


def again(data: bytes, model: Path, adapter: Path | None = None) -> tuple[SignedAnswer, Recomputed]:
    """Read and recomputed."""
    assert read_answer(data)[1] == SIGNER.did
    return again_by_anybody(data, model, adapter)


def again_by_anybody(
    data: bytes, model: Path, adapter: Path | None = None
) -> tuple[SignedAnswer, Recomputed]:
    """The same, whoever signed it."""
    answer, _ = read_answer(data)
    torch.set_num_threads(answer.threads or 1)
    return answer, recompute(answer, Folder(model, adapter), LIMITS)
