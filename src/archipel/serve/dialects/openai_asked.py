"""What OpenAI's clients send for chat completions and completions, read into questions.

Fields as the client openai 3.57 sends them. Refused: what would change an answer and is not done here (`NOT_DONE`).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from archipel.serve.dialects.dialect import Body, Number, read
from archipel.serve.dialects.openai_tools import calling_of
from archipel.serve.question import (
    ANY_OBJECT,
    BadQuestion,
    Bends,
    Calling,
    Form,
    Question,
    Settings,
)

NOT_DONE = (
    "audio", "modalities", "web_search_options", "prediction", "functions", "function_call", "suffix", "echo", "best_of",
    # Of servers that speak this dialect, too:
    "repetition_penalty", "repeat_penalty", "length_penalty", "use_beam_search", "min_tokens", "stop_token_ids", "ignore_eos",
    "bad_words", "allowed_token_ids", "logits_processors", "prompt_logprobs", "truncate_prompt_tokens", "structured_outputs",
    "guided_json", "guided_regex", "guided_choice", "guided_grammar", "grammar", "json_schema", "chat_template",
    "chat_template_kwargs", "documents", "continue_final_message", "mirostat", "typical_p", "tfs_z",
)  # fmt: skip
MAX_OLD_TOP = 5
MAX_MESSAGES = 4096
MAX_PROMPT_IDS = 1_000_000
Roles = Literal["developer", "system", "user", "assistant", "tool"]


class _Part(Body):
    type: StrictStr
    text: StrictStr = ""


class _Function(Body):
    name: StrictStr
    arguments: StrictStr = "{}"


class _ToolCall(Body):
    id: StrictStr = ""
    function: _Function


class Turn(Body):
    role: Roles
    content: StrictStr | list[_Part] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: StrictStr | None = None
    name: StrictStr | None = None


class _StreamOptions(Body):
    include_usage: StrictBool = False


class _Schema(Body):
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class _Format(Body):
    type: StrictStr = "text"
    json_schema: _Schema | None = None

    @property
    def form(self) -> Form | None:
        """Raises BadQuestion."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return Form.of(ANY_OBJECT, "response_format")
        if self.type == "json_schema":
            held = self.json_schema or _Schema(schema=None)
            return Form.of(ANY_OBJECT if held.schema_ is None else held.schema_, "response_format")
        raise BadQuestion(
            f"response_format {self.type!r:.40}; expected text, json_object or json_schema",
            "response_format",
        )


class _Sampling(Body):
    model: StrictStr
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    n: StrictInt | None = None
    seed: StrictInt | None = None
    logit_bias: dict[str, Number] | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    stop: StrictStr | list[StrictStr] | None = None
    stream: StrictBool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the tokens that were used."""
        return self.stream_options is not None and self.stream_options.include_usage

    def settings(
        self, max_new_tokens: int | None, form: "_Format | None", num_top: int
    ) -> Settings:
        """As the desk knows them. Raises BadQuestion."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Settings(
            max_new_tokens=max_new_tokens,
            temperature=1.0 if self.temperature is None else float(self.temperature),
            top_p=1.0 if self.top_p is None else float(self.top_p),
            top_k=self.top_k or 0,
            min_p=float(self.min_p or 0),
            seed=self.seed,
            choices=1 if self.n is None else self.n,
            stop=stop,
            bends=Bends(
                _biases(self.logit_bias or {}),
                float(self.presence_penalty or 0),
                float(self.frequency_penalty or 0),
            ),
            form=None if form is None else form.form,
            num_top=num_top,
        )


class ChatBody(_Sampling):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: StrictInt | None = None
    max_completion_tokens: StrictInt | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None
    parallel_tool_calls: StrictBool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    response_format: _Format | None = None


class TextBody(_Sampling):
    """POST /v1/completions."""

    prompt: (
        StrictStr
        | Annotated[list[StrictStr], Field(min_length=1, max_length=1)]
        | Annotated[list[StrictInt], Field(min_length=1, max_length=MAX_PROMPT_IDS)]
    )
    max_tokens: StrictInt | None = 16
    logprobs: StrictInt | None = None
    response_format: _Format | None = None


def chat_asked(data: bytes) -> tuple[Question, ChatBody]:
    """Raises Refusal."""
    body = read(ChatBody, data, NOT_DONE)
    calling = calling_of(body.tool_choice, body.parallel_tool_calls)
    tools = tuple(body.tools or ()) if calling is not None else ()
    most = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    if body.top_logprobs and not body.logprobs:
        raise BadQuestion("top_logprobs without logprobs; set logprobs to true", "top_logprobs")
    settings = body.settings(most, body.response_format, body.top_logprobs or 0)
    turns = tuple(map(turn_of, body.messages))
    return Question(body.model, settings, turns, tools=tools, calling=calling or Calling()), body


def text_asked(data: bytes) -> tuple[Question, TextBody]:
    """Raises Refusal."""
    body = read(TextBody, data, NOT_DONE)
    if not 0 <= (body.logprobs or 0) <= MAX_OLD_TOP:
        raise BadQuestion(f"logprobs is {body.logprobs}; expected 0 to {MAX_OLD_TOP}", "logprobs")
    settings = body.settings(body.max_tokens, body.response_format, body.logprobs or 0)
    if isinstance(body.prompt, str):
        return Question(body.model, settings, text=body.prompt), body
    if isinstance(body.prompt[0], str):
        return Question(body.model, settings, text=body.prompt[0]), body
    return Question(body.model, settings, tokens=tuple(map(int, body.prompt))), body


def _biases(said: Mapping[str, float]) -> dict[int, float]:
    if strange := [
        each for each in said if not each.isascii() or not each.isdigit() or len(each) > 9
    ]:
        raise BadQuestion(
            f"logit_bias names {strange[0]!r:.40}; expected ids of tokens", "logit_bias"
        )
    return {int(each): float(value) for each, value in said.items()}


def turn_of(message: Turn) -> Mapping[str, Any]:
    """As chat templates are given it."""
    content = message.content
    if isinstance(content, list):
        if strange := [part.type for part in content if part.type != "text"]:
            raise BadQuestion(
                f"a part of type {strange[0]!r:.40}; this model reads text alone", "messages"
            )
        content = "".join(part.text for part in content)
    role = "system" if message.role == "developer" else message.role
    turn: dict[str, Any] = {"role": role, "content": content or ""}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "id": call.id, "function": call.function.model_dump()}
            for call in message.tool_calls
        ]
    named = {"tool_call_id": message.tool_call_id, "name": message.name}
    return turn | {key: value for key, value in named.items() if value is not None}
