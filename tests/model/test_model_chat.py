"""Chat templates run sandboxed, bounded and without a clock."""

from datetime import UTC, datetime

import pytest

from archipel.model.chat import MAX_RENDERED_CHARS, MAX_TEMPLATE_CHARS, InvalidChat, render

USER = [{"role": "user", "content": "hi"}]


def test_whitespace_and_json_follow_the_convention_of_published_templates() -> None:
    template = (
        "{% for m in messages %}\n    {% if loop.first %}{{ bos_token }}{% endif %}\n"
        "<{{ m.role }}>{{ m | tojson }}\n{% break %}{% endfor %}\n"
    )
    assert render([*USER, *USER], template, special_tokens={"bos_token": "B"}) == (
        'B<user>{"role": "user", "content": "hi"}\n'
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ raise_exception('no system role') }}",
        "{{ strftime_now('%d') }}",
        "{{ 1 / 0 }}",
        "{{ messages[7].content }}",
        "{% if %}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    with pytest.raises(InvalidChat, match="chat template"):
        render(USER, template, special_tokens={})


def test_output_and_template_are_bounded() -> None:
    endless = "{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}"
    with pytest.raises(InvalidChat, match=str(MAX_RENDERED_CHARS)):
        render(USER, endless, special_tokens={})
    with pytest.raises(InvalidChat, match=str(MAX_TEMPLATE_CHARS)):
        render(USER, "x" * (MAX_TEMPLATE_CHARS + 1), special_tokens={})


def test_the_date_is_the_callers() -> None:
    now = datetime(2031, 2, 3, tzinfo=UTC)
    assert (
        render(USER, "{{ strftime_now('%Y-%m-%d') }}", special_tokens={}, now=now) == "2031-02-03"
    )
