"""`archipel chat --url`: talk to a model that is served, by this machine or another of yours."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from archipel.cli.doors import Mendable, home_folder, mending, printable

KEY_VARIABLE = "OPENAI_API_KEY"
CONNECT_S = 10.0
SILENCE_S = 600.0
"""Between two parts of an answer: a long prompt is read first, on a slow machine perhaps behind others."""
MAX_LINE_CHARS = 1_048_576


class Served:
    """A conversation with what answers there; it remembers the turns if it takes messages."""

    def __init__(self, url: str, settings: Mapping[str, Any], key_file: Path | None) -> None:
        """settings: fields of OpenAI's requests, `model` among them if one is named.

        Raises:
            Mendable: nothing answers there, or not to this key, or it has no such model.
        """
        import httpx

        key = _key(url, key_file)
        self._client = httpx.Client(
            base_url=url.rstrip("/").removesuffix("/v1"),
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            trust_env=False,
        )
        self._url, self._turns = url, list[dict[str, str]]()
        self.is_cut = False
        """Whether the last answer met its longest before its end."""
        there = [str(each["id"]) for each in self._asked("/v1/models")["data"]]
        self._body = {"model": there[0], **settings, "stream": True}
        shown = self._asked("/api/show", {"model": self._body["model"]})
        self._is_chat = bool(shown.get("template"))

    def describe(self) -> str:
        """Which model answers, and how a line to it must look."""
        kind = "a chat model" if self._is_chat else "a completion model: it goes on with your line"
        return f"{self._body['model']} at {self._url}, {kind}"

    def parts(self, line: str) -> Iterator[str]:
        """The answer to one line, as it comes; a turn that fails leaves no trace.

        Raises:
            Mendable: it broke off, or was refused.
        """
        turns = [*self._turns, {"role": "user", "content": line}]
        path, asked = ("/v1/chat/completions", {"messages": turns}) if self._is_chat else (
            "/v1/completions", {"prompt": line}
        )  # fmt: skip
        text = ""
        for said in self._events(path, self._body | asked):
            for choice in said.get("choices", ()):
                self.is_cut = choice.get("finish_reason") == "length"
                part = choice.get("text") or choice.get("delta", {}).get("content") or ""
                text += part
                yield part
        self._turns = [*turns, {"role": "assistant", "content": text}]

    def _asked(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        with _mending(self._url):
            found = self._client.request("GET" if body is None else "POST", path, json=body)
            if found.is_error:
                raise Mendable(f"{self._url}: {_why(found)}")
            said = found.json()
        if not isinstance(said, dict) or (body is None and not said.get("data")):
            raise Mendable(f"{self._url} is no server of models: {path} says {str(said)[:60]!r}")
        return said

    def _events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        with _mending(self._url), self._client.stream("POST", path, json=body) as found:
            if found.is_error:
                found.read()
                raise Mendable(_why(found))
            for line in found.iter_lines():
                said = said_in(line)
                if said is not None:
                    yield said


def said_in(line: str) -> dict[str, Any] | None:
    """What one line of a stream says; None: nothing.

    Raises:
        Mendable: that it broke off, or what no server of models says.
    """
    if not line.startswith("data: {"):
        return None
    try:
        said = json.loads(line[:MAX_LINE_CHARS].removeprefix("data: "))
    except (ValueError, RecursionError):
        raise Mendable(f"a line of the answer is no JSON: {line[:40]!r}") from None
    error = said.get("error")
    if error is not None:
        raise Mendable(str(error.get("message") if isinstance(error, dict) else error))
    found: dict[str, Any] = said
    return found


def talk(served: Served, prompt: str | None, ask: Callable[[], str]) -> None:
    """Answer one prompt, or lines until an empty one."""
    if prompt is not None:
        _say(served, prompt)
        return
    click.echo(f"{served.describe()}; an empty line ends", err=True)
    while line := ask():
        try:
            _say(served, line)
        except Mendable as error:
            click.echo(f"cannot answer: {error}", err=True)


def settings_of(
    model: str | None,
    max_new_tokens: int | None,
    temperature: float,
    seed: int,
    stop: Sequence[str],
) -> dict[str, Any]:
    """As OpenAI's requests name them; what is not asked for is left to the server."""
    said = {"max_tokens": max_new_tokens, "model": model, "stop": list(stop)}
    return {"temperature": temperature, "seed": seed} | {
        key: each for key, each in said.items() if each
    }


def _say(served: Served, line: str) -> None:
    for part in served.parts(line):
        click.echo(printable(part), nl=False)
    click.echo()
    if served.is_cut:
        click.echo("(cut at its longest; --max-new-tokens asks for more)", err=True)


@contextlib.contextmanager
def _mending(url: str) -> Iterator[None]:
    """What a network and strangers do, as one sentence."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Mendable(
            f"{url} does not answer ({error or type(error).__name__}); `archipel serve list` shows what runs here"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Mendable(f"{url} answers as no server of models does") from None


def _why(found: Any) -> str:
    """A refusal's own sentence."""
    try:
        error = found.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return f"status {found.status_code}"


def _key(url: str, path: Path | None) -> str | None:
    """Of the file that was named, the environment, or the server's own where it is one of this user's.

    Raises:
        Mendable: the file holds none.
    """
    from archipel.serve.access import InvalidKeys, keys_of
    from archipel.serve.running import those_that_run

    if path is None and KEY_VARIABLE in os.environ:
        return os.environ[KEY_VARIABLE]
    if path is None:
        folder = home_folder("serve", None, make=False) / "running"
        own = {each.address: each.key_file for each in those_that_run(folder)}
        found = own.get(url.rstrip("/").removesuffix("/v1"))
        path = None if found is None else Path(found)
    if path is None:
        return None
    with mending(InvalidKeys, OSError):
        return keys_of(path)[0]
