"""What OpenAI's clients send for responses, read into questions."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from archipel.serve.dialects.dialect import Body, Number, read
from archipel.serve.dialects.openai_tools import calling_of
from archipel.serve.question import ANY_OBJECT, BadQuestion, Calling, Form, Question, Settings

NOT_DONE = (
    "previous_response_id", "conversation", "prompt", "background", "context_management", "max_tool_calls",
    # Of chat completions, and no fields here:
    "stop", "n", "logit_bias", "presence_penalty", "frequency_penalty", "response_format", "functions",
)  # fmt: skip
LOGPROBS = "message.output_text.logprobs"
MAX_ITEMS = 4096


class _Part(Body):
    type: StrictStr
    text: StrictStr = ""


class _Item(Body):
    type: StrictStr = "message"
    role: Literal["developer", "system", "user", "assistant"] | None = None
    content: StrictStr | list[_Part] = ""
    call_id: StrictStr = ""
    name: StrictStr = ""
    arguments: StrictStr = "{}"
    output: StrictStr = ""


class _Format(Body):
    type: StrictStr = "text"
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    @property
    def form(self) -> Form | None:
        """Raises BadQuestion."""
        if self.type == "text":
            return None
        if self.type not in ("json_object", "json_schema"):
            raise BadQuestion(
                f"text.format {self.type!r:.40}; expected text, json_object or json_schema", "text"
            )
        return Form.of(ANY_OBJECT if self.schema_ is None else self.schema_, "text")


class _Text(Body):
    format: _Format | None = None


class _Tool(Body):
    type: StrictStr
    name: StrictStr = ""
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None


class ResponsesBody(Body):
    """POST /v1/responses."""

    model: StrictStr
    input: StrictStr | Annotated[list[_Item], Field(min_length=1, max_length=MAX_ITEMS)]
    instructions: StrictStr | None = None
    max_output_tokens: StrictInt | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    stream: StrictBool | None = None
    text: _Text | None = None
    tools: list[_Tool] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    include: list[StrictStr] | None = None
    top_logprobs: StrictInt | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    seed: StrictInt | None = None

    @property
    def wants_logprobs(self) -> bool:
        """Whether each token is told with its log-probability."""
        return LOGPROBS in (self.include or ()) or bool(self.top_logprobs)


def asked(data: bytes) -> tuple[Question, ResponsesBody]:
    """Raises Refusal."""
    body = read(ResponsesBody, data, NOT_DONE)
    calling = calling_of(body.tool_choice, body.parallel_tool_calls)
    settings = Settings(
        max_new_tokens=body.max_output_tokens,
        temperature=1.0 if body.temperature is None else float(body.temperature),
        top_p=1.0 if body.top_p is None else float(body.top_p),
        top_k=body.top_k or 0,
        min_p=float(body.min_p or 0),
        seed=body.seed,
        form=None if body.text is None or body.text.format is None else body.text.format.form,
        num_top=body.top_logprobs or 0,
    )
    tools = tuple(_schema(each) for each in body.tools or () if each.type == "function")
    question = Question(
        body.model,
        settings,
        tuple(_turns(body)),
        tools=() if calling is None else tools,
        calling=calling or Calling(),
    )
    return question, body


def _schema(tool: _Tool) -> dict[str, Any]:
    about = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters or {},
    }
    return {"type": "function", "function": about}


def _turns(body: ResponsesBody) -> list[dict[str, Any]]:
    """System's words first, in one turn: most templates take no other."""
    items = [_Item(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    told = [body.instructions] if body.instructions else []
    turns: list[dict[str, Any]] = []
    for item in items:
        if item.type == "function_call":
            function = {"name": item.name, "arguments": item.arguments}
            call = {"type": "function", "id": item.call_id, "function": function}
            turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
        elif item.type == "function_call_output":
            turns.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
        elif item.type != "message" or item.role is None:
            raise BadQuestion(
                f"an item of type {item.type!r:.40}; this model reads messages and calls", "input"
            )
        elif item.role in ("developer", "system"):
            told.append(_said(item))
        else:
            turns.append({"role": item.role, "content": _said(item)})
    return [*([{"role": "system", "content": "\n\n".join(told)}] if told else []), *turns]


def _said(item: _Item) -> str:
    if isinstance(item.content, str):
        return item.content
    if strange := [
        part.type for part in item.content if part.type not in ("input_text", "output_text")
    ]:
        raise BadQuestion(
            f"a part of type {strange[0]!r:.40}; this model reads text alone", "input"
        )
    return "".join(part.text for part in item.content)
