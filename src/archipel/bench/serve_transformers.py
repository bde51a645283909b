"""transformers' continuous batching behind POST /v1/completions, for `archipel bench serve`.

`transformers serve` takes chats only, so that prompts would be its template's; here its own batching manager is asked
for the same token ids as everybody. Arguments: model directory, dtype, threads, tokens of cache. Says where it is on a
line. Greedy; no end token, so that every answer has the length asked for.
"""

import json
import queue
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = 64
"""Positions of the cache that are given out together."""
STEP_TOKENS = 512
"""Of prompts in one step."""
MAX_BODY = 16_000_000
MAX_WAIT_S = 600.0


class Asked:
    """Who waits for what the manager says."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self._waiting: dict[str, queue.SimpleQueue[Any]] = {}
        threading.Thread(target=self._tell, daemon=True).start()

    def ask(self, name: str, prompt: Sequence[int], most: int) -> "queue.SimpleQueue[Any]":
        """Where its results come."""
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waiting[name] = told
        self.manager.add_request(
            list(prompt), request_id=name, max_new_tokens=most, streaming=True, eos_token_id=-1
        )
        return told

    def _tell(self) -> None:
        for result in self.manager:
            told = self._waiting.get(result.request_id)
            if told is not None:
                told.put(result)
            if result.is_finished():
                self._waiting.pop(result.request_id, None)


def handler_of(asked: Asked) -> type[BaseHTTPRequestHandler]:
    """Answers one question for each connection."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = min(int(self.headers.get("content-length", 0)), MAX_BODY)
            body = json.loads(self.rfile.read(size))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            told = asked.ask(str(id(self)), body["prompt"], body["max_tokens"])
            seen, ended = 0, False
            while not ended:
                result = told.get(timeout=MAX_WAIT_S)
                new, ended = result.generated_tokens[seen:], result.is_finished()
                seen = len(result.generated_tokens)
                self._event({"choices": [{"text": " ", "token": each} for each in new]})
            self._event({"choices": [], "usage": {"completion_tokens": seen}})

        def _event(self, told: dict[str, Any]) -> None:
            self.wfile.write(f"data: {json.dumps(told)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, *said: Any) -> None:
            """Nothing of questions is written down."""

    return Handler


def main(folder: str, dtype: str, threads: int, tokens: int) -> None:
    """Serve until told to end."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    how = ContinuousBatchingConfig(
        page_size=PAGE, num_blocks=-(-tokens // PAGE), max_batch_tokens=STEP_TOKENS
    )
    greedy = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
    manager = model.init_continuous_batching(greedy, how)
    manager.start()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(Asked(manager)))
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
