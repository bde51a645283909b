"""What an HTTP answer means: a lab that may come back, or its considered no."""

import json

import httpx

MAX_JSON_BYTES = 64 * 1024 * 1024
"""No document of a lab is larger."""
TROUBLE = frozenset({502, 503, 504, 507})
"""Statuses that may pass: a gateway without its lab, a full disk."""


class LabUnreachable(Exception):
    """No answer: the network, or the lab is down. Trying again later may help."""


class LabRefused(Exception):
    """The lab's answer is no; trying the same again will not help."""

    def __init__(self, problem: str, detail: str, status: int) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem = problem
        self.detail = detail
        self.status = status


async def bounded_body(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise LabRefused("oversized-answer", f"more than {MAX_JSON_BYTES} bytes", 200)
    return bytes(body)


def refusal(status: int, body: bytes, url: str) -> Exception:
    """A lab in trouble may recover; everything else is a considered no."""
    try:
        problem = json.loads(body)
        kind, detail = str(problem["type"]).rsplit("/", 1)[-1], str(problem["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        if status >= 500:
            return LabUnreachable(f"status {status} from {url}")
        return LabRefused("unexpected-answer", f"status {status}", status)
    if status in TROUBLE:
        return LabUnreachable(f"{kind}: {detail}")
    return LabRefused(kind, detail, status)
