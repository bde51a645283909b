"""A process that makes shards: `python -m archipel.training.corpus.shard_child`, see `making`.

It speaks JSON lines over standard input, which is a socket: first {tokenizer, files, rules}, then a task a line;
each task is answered by the shard's record or by {"fault", "errno", "filename"}.
Law: it ends when the other side closes, at the latest after the shard that it is at.
"""

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from archipel.records.corpus import BadCorpus
from archipel.training.corpus.sources import Rules
from archipel.training.corpus.tokenising import Ids, Task, make_shard


def serve() -> None:
    """Answer until the other side closes."""
    line = socket.socket(fileno=os.dup(0))
    requests = line.makefile("rb")
    setup = json.loads(requests.readline())
    files = tuple(Path(each) for each in setup["files"])
    rules = Rules(**setup["rules"])
    ids = Ids.named(setup["tokenizer"])
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for request in requests:
            task = Task.from_json(json.loads(request))
            line.sendall(json.dumps(_answer(task, files, rules, ids)).encode() + b"\n")


def _answer(task: Task, files: tuple[Path, ...], rules: Rules, ids: Ids) -> dict[str, Any]:
    try:
        return make_shard(task, files, rules, ids).model_dump(mode="json")
    except BadCorpus as error:
        return {"fault": str(error), "errno": None}
    except OSError as error:
        return {
            "fault": error.strerror or str(error),
            "errno": error.errno or 0,
            "filename": error.filename,
        }


if __name__ == "__main__":
    serve()
