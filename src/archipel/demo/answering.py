"""The demo's last act: the released model answers on this machine alone, and somebody computes its answer again.

Parts: `Answering` (the server and the verifier), `Answered` (what they said). Laws: the server has left the network before
it loads anything, but for its own address; what is told is what the two said; leaving the block ends them.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from archipel import source_environment
from archipel.bench.endings import InOrder
from archipel.bench.site import PROGRAM, SiteFailed

ADDRESS: Final = re.compile(r" at (http://127\.0\.0\.1:\d{1,5}) \(")
"""In the line by which a server says that it is open."""
LOOK_S = 0.05
TAIL_CHARACTERS = 800
HOME: Final = "answers"
"""Under the demo's folder: the key that signs answers."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of it."""

    model: Path
    prompt: str
    text: str
    is_offline: bool
    """The server said that it had left the network."""
    signer: str
    tokens: int
    differences: int
    """Tokens or log-probabilities that came out otherwise."""
    verified_s: float
    """From the start of the verifier to its end."""

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        names = ("prompt", "text", "is_offline", "signer", "tokens", "differences", "verified_s")
        return {"model": str(self.model)} | {name: getattr(self, name) for name in names}


class Answering(InOrder):
    """Two processes, one after the other; leaving the block ends the one that runs. Whoever calls `begin` from a thread
    ends it within the block, or a server would outlive it.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], variant: str | None, limit_s: float
    ) -> None:
        """variant: of the exact contract, by which it answers; None: in floating point. limit_s: for each wait."""
        self._folder, self._variant, self._limit_s = folder, variant, limit_s
        home = {"ARCHIPEL_HOME": str(folder / HOME)}
        self._environment = {**source_environment(), **environment, **home}
        self._said = folder / "answers.out"
        self._serving: tuple[Path, subprocess.Popen[bytes]] | None = None

    def close(self) -> None:
        """End the one that runs."""
        if self._serving is not None:
            _, server = self._serving
            server.kill()
            server.wait()

    def begin(self, model: Path) -> None:
        """Start the server; it loads beside whatever else goes on. Raises OSError."""
        how = ["--exact", self._variant] if self._variant else []
        words = ["serve", str(model), "--name", "released", "--port", "0", "--sign", *how]
        with self._said.open("wb") as said:
            server = subprocess.Popen(  # noqa: S603  our own program, no shell
                [sys.executable, *PROGRAM, *words, "--prove-offline", "--threads", "1"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        self._serving = model, server

    def ask(self, prompt: str) -> Answered:
        """Its greedy answer, asked as any client asks, fetched signed, and computed again.

        Raises:
            SiteFailed: the server or the verifier failed, or takes too long.
        """
        if self._serving is None:
            raise SiteFailed("no model is served")
        model, server = self._serving
        address = self._address(server)
        asked = {"model": "released", "prompt": prompt, "temperature": 0}
        try:
            with httpx.Client(timeout=self._limit_s, trust_env=False) as client:
                answer = client.post(f"{address}/v1/completions", json=asked).raise_for_status()
                name = answer.headers["archipel-answer"]
                signed = client.get(f"{address}/v1/answers/{name}").raise_for_status().content
        except (httpx.HTTPError, KeyError) as error:
            raise SiteFailed(
                f"the served model gave no answer ({error!r}): {self._tail()}"
            ) from None
        text = answer.json()["choices"][0]["text"]
        return self._verified(model, prompt, text, signed)

    def _address(self, server: subprocess.Popen[bytes]) -> str:
        until = time.monotonic() + self._limit_s
        while (found := ADDRESS.search(self._said.read_text(errors="replace"))) is None:
            if server.poll() is not None or time.monotonic() > until:
                raise SiteFailed(f"the model is not served: {self._tail()}")
            time.sleep(LOOK_S)
        return found[1]

    def _verified(self, model: Path, prompt: str, text: str, signed: bytes) -> Answered:
        file, began = self._folder / "answer.json", time.monotonic()
        file.write_bytes(signed)
        words = ["answer", "verify", str(file), "--model", str(model), "--json"]
        try:
            ran = subprocess.run(  # noqa: S603  our own program, no shell
                [sys.executable, *PROGRAM, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self._environment,
                timeout=self._limit_s,
                check=False,
            )
            facts = json.loads(ran.stdout)
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise SiteFailed(f"the answer was not computed again: {error}") from None
        return Answered(
            model=model,
            prompt=prompt,
            text=text,
            is_offline=self._said.read_text(errors="replace").startswith("offline: "),
            signer=facts["signer"],
            tokens=facts["tokens"],
            differences=len(facts["differences"]),
            verified_s=time.monotonic() - began,
        )

    def _tail(self) -> str:
        return self._said.read_text(errors="replace")[-TAIL_CHARACTERS:]
