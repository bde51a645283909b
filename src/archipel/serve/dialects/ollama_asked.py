"""What Ollama's clients send for chat and generate, read into questions."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from archipel.serve.dialects.dialect import Body, Number, read
from archipel.serve.question import (
    ANY_OBJECT,
    BadQuestion,
    Bends,
    Form,
    NotOffered,
    Question,
    Settings,
)

NOT_DONE = ("images", "suffix", "template", "context", "think")
MAX_MESSAGES = 4096


class _Options(Body):
    mirostat: StrictInt = 0
    typical_p: Number | None = None
    tfs_z: Number | None = None
    num_predict: StrictInt | None = None
    temperature: Number | None = None
    top_k: StrictInt | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    seed: StrictInt | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    repeat_penalty: Number | None = None
    repeat_last_n: StrictInt | None = None
    stop: list[StrictStr] | StrictStr | None = None

    def settings(self, form: Form | None, num_top: int = 0) -> Settings:
        """As the desk knows them. Raises NotOffered."""
        others = {"mirostat": self.mirostat, "typical_p": self.typical_p, "tfs_z": self.tfs_z}
        for name, value in others.items():
            if value not in (None, 0 if name == "mirostat" else 1):
                raise NotOffered(f"{name} is not done here; leave it out", name)
        most = self.num_predict
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Settings(
            max_new_tokens=None if most is None or most < 0 else most,
            temperature=0.8 if self.temperature is None else float(self.temperature),
            top_p=1.0 if self.top_p is None else float(self.top_p),
            top_k=self.top_k or 0,
            min_p=float(self.min_p or 0),
            seed=self.seed,
            stop=stop,
            bends=Bends(
                {},
                float(self.presence_penalty or 0),
                float(self.frequency_penalty or 0),
                1.0 if self.repeat_penalty is None else float(self.repeat_penalty),
                64 if self.repeat_last_n is None else self.repeat_last_n,
            ),
            form=form,
            num_top=num_top,
        )


class _Function(Body):
    name: StrictStr
    arguments: dict[str, Any] = Field(default_factory=dict)


class _Call(Body):
    function: _Function


class _Message(Body):
    role: Literal["system", "user", "assistant", "tool"]
    content: StrictStr = ""
    images: list[StrictStr] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: StrictStr | None = None


class _Asked(Body):
    model: StrictStr
    options: _Options | None = None
    format: StrictStr | dict[str, Any] | None = None
    stream: StrictBool = True
    logprobs: StrictBool = False
    top_logprobs: StrictInt = 0

    @property
    def settings(self) -> Settings:
        """As the desk knows them. Raises BadQuestion."""
        if self.top_logprobs and not self.logprobs:
            raise BadQuestion("top_logprobs without logprobs; set logprobs to true", "top_logprobs")
        return (self.options or _Options()).settings(_form(self.format), self.top_logprobs)


class ChatBody(_Asked):
    """POST /api/chat."""

    messages: Annotated[list[_Message], Field(default_factory=list, max_length=MAX_MESSAGES)]
    tools: list[dict[str, Any]] | None = None


class TextBody(_Asked):
    """POST /api/generate."""

    prompt: StrictStr = ""
    system: StrictStr | None = None
    raw: StrictBool = False


def chat_asked(data: bytes) -> tuple[Question | None, _Asked]:
    """None: nothing is asked, the client wants the model loaded. Raises Refusal."""
    body = read(ChatBody, data, NOT_DONE)
    if not body.messages:
        return None, body
    settings = body.settings
    turns = tuple(_turn(each) for each in body.messages)
    return Question(body.model, settings, turns, tools=tuple(body.tools or ())), body


def text_asked(data: bytes, has_template: bool) -> tuple[Question | None, _Asked]:
    """has_template: then a prompt is a turn, unless it is raw. Raises Refusal."""
    body = read(TextBody, data, NOT_DONE)
    settings = body.settings
    if not body.prompt:
        return None, body
    if body.raw or not has_template:
        return Question(body.model, settings, text=body.prompt), body
    system = [{"role": "system", "content": body.system}] if body.system else []
    return Question(body.model, settings, (*system, {"role": "user", "content": body.prompt})), body


def _form(said: str | dict[str, Any] | None) -> Form | None:
    if not said:
        return None
    if isinstance(said, str) and said != "json":
        raise BadQuestion(f"format is {said!r:.40}; expected json or a schema", "format")
    return Form.of(ANY_OBJECT if isinstance(said, str) else said, "format")


def _turn(message: _Message) -> Mapping[str, Any]:
    if message.images:
        raise BadQuestion("an image; this model reads text alone", "messages")
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "function": call.function.model_dump()}
            for call in message.tool_calls
        ]
    return turn | ({"name": message.tool_name} if message.tool_name else {})
