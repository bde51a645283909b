"""A node that cheats, as a process: `python tests/cheating.py WAY node join URL ...` is that command, but for its way.

Ways: `tokens` edits one token of each result after sampling, `logprobs` one log-probability, `yes` and `no` say the
same of every answer that they audit.
"""

import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archipel.cli.archipel import run
from archipel.node.worker import Worker
from archipel.records.payload import Payload, read_payload, write_payload
from archipel.records.programmes.rl import RlPace
from archipel.work.messages import Done, DoWork

TENSORS = {"tokens": "I32", "logprobs": "F32", "lengths": "I32", "finished": "U8"}


def edited(path: Path, pace: RlPace, change: Callable[[dict[str, array], RlPace], None]) -> None:
    payload = read_payload(path.read_bytes(), TENSORS)
    tensors = dict(payload.tensors)
    change(tensors, pace)
    path.write_bytes(write_payload(Payload(tensors, payload.metadata)))


def a_token(tensors: dict[str, array], pace: RlPace) -> None:
    """The first token that is no stop token becomes another that is none."""
    tokens, stops = tensors["tokens"], set(pace.stop_tokens)
    free = [token for token in range(pace.vocab_size) if token not in stops]
    place = next(at for at, token in enumerate(tokens) if token not in stops)
    tokens[place] = next(token for token in reversed(free) if token != tokens[place])


def a_logprob(tensors: dict[str, array], pace: RlPace) -> None:
    tensors["logprobs"][0] -= 0.25


def opinion(says: str, message: DoWork, done: Done) -> Done:
    values: dict[str, Any] = {"says": says, "positions": done.values["positions"]}
    if says == "differs":
        found = {"group": 0, "rollout": 0, "position": 0, "what": "token"}
        values["difference"] = found | {"recorded": "1", "recomputed": "2"}
    return done.model_copy(update={"values": values})


def cheat(way: str) -> None:
    honest = Worker.work

    async def work(self: Worker, message: DoWork, *rest: Any) -> Done:
        done = await honest(self, message, *rest)
        pace = message.opened.pace
        assert isinstance(pace, RlPace)
        if message.spec.kind == "audit" and way in ("yes", "no"):
            return opinion({"yes": "agree", "no": "differs"}[way], message, done)
        if message.spec.kind == "rollout" and way in ("tokens", "logprobs"):
            edited(done.files["rollouts"], pace, {"tokens": a_token, "logprobs": a_logprob}[way])
        return done

    Worker.work = work  # type: ignore[method-assign]  # that is the cheat


if __name__ == "__main__":
    cheat(sys.argv[1])
    sys.argv = [sys.argv[0], *sys.argv[2:]]
    run()
