"""Which chat templates are rendered at once: plain ones, and none that can write much from little."""

import time
from pathlib import Path

import pytest

from harness.builtin import MODEL_DIR
from harness.models import templates
from harness.models.plain_templates import is_plain

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% endfor %}"
)
HOSTILE = {
    "a loop over numbers": "{% for i in range(10**9) %}x{% endfor %}",
    "a loop over letters": "{% for letter in messages[0].content %}x{% endfor %}",
    "the messages are letters": "{% set messages = messages[0].content %}{% for m in messages %}{{ m }}{% endfor %}",
    "a loop calls them letters": "{% for messages in messages %}{% endfor %}{% for m in messages %}x{% endfor %}",
    "loops within loops": "{% for a in messages %}{% for b in messages %}x{% endfor %}{% endfor %}",
    "doubling": "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "doubling by two names": "{% set a = 'x' %}" + "{% set b = a + a %}{% set a = b + b %}" * 20 + "{{ a }}",
    "doubling in a namespace": "{% set ns = namespace(x='x') %}{% for m in messages %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "quoting quotes": "{% set a = '\"' %}" + "{% set a = a | tojson %}" * 40 + "{{ a }}",
    "an indent": "{{ messages | tojson(indent=1000000000) }}",
    "an indent by its place": "{{ messages | tojson(false, 1000000000) }}",
    "an indent by a name": "{% set n = 1000000000 %}{{ messages | tojson(indent=n) }}",
    "an indent of text": "{{ messages | tojson(indent='" + "x" * 9000 + "') }}",
    "lists of lists": "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "multiplication": "{{ 'x' * 10**9 }}",
    "a width": "{{ '%999999999d' % 1 }}",
    "a format": "{{ '{:999999999}'.format(1) }}",
    "a filter that pads": "{{ 'x' | center(10**9) }}",
    "a filter that repeats": "{{ 'x' | replace('x', messages[0].content) }}",
    "joining": "{{ messages[0].content.join(messages[0].content) }}",
    "a macro that calls itself": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "a loop that calls itself": "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "a block as a value": "{% set a %}x{% endset %}{% set b %}{{ a }}{{ a }}{% endset %}{{ b }}",
    "the text again and again": "{{ messages[0].content }}" * 1000,
    "a power": "{{ 10 ** 10 ** 10 }}",
    "no template": "{% for",
    "a long one": "x" * 100_000,
}


@pytest.mark.parametrize(
    "template",
    [
        CHATML,
        LLAMA_2,
        "{{ messages | tojson }}",
        "{{ tools | tojson(indent=4, ensure_ascii=false) }}",
        "{{ bos_token }}{{ messages[-1].content | trim }}",
    ],
)
def test_what_people_use_is_plain(template: str) -> None:
    assert is_plain(template)


def test_the_shipped_models_is_plain() -> None:
    assert is_plain((Path(MODEL_DIR) / "chat_template.jinja").read_text())


@pytest.mark.parametrize("name", HOSTILE)
def test_what_may_grow_is_not(name: str) -> None:
    assert not is_plain(HOSTILE[name]), name


@pytest.mark.parametrize("template", [CHATML, LLAMA_2])
def test_both_ways_give_the_same(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"conversations": [[{"role": "user", "content": " Hello. "}]], "chat_template": template, "bos_token": "<s>"}
    at_once = templates._render(**asked, add_generation_prompt=True)
    monkeypatch.setattr(templates, "is_plain", lambda _: False)
    assert at_once == templates._render(**asked, add_generation_prompt=True)


def test_an_error_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"conversations": [[{"role": "assistant", "content": "x"}]], "chat_template": LLAMA_2, "bos_token": "<s>"}
    said = []
    for plain in (True, False):
        monkeypatch.setattr(templates, "is_plain", lambda _, plain=plain: plain)
        with pytest.raises(templates.TemplateError, match="roles must alternate") as found:
            templates._render(**asked)
        said.append(str(found.value))
    assert said[0] == said[1]


def test_looking_at_a_template_takes_no_time() -> None:
    begun = time.monotonic()
    for template in ("{{" + "(" * 5000 + ")" * 5000 + "}}", "{% if x %}" * 1000, "{{ x" + ".a" * 20_000 + " }}"):
        is_plain(template)
    assert time.monotonic() - begun < 20
