"""Chat templates are programs of a model's: rendered as transformers would, and ended when they take too much."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.api import Model
from harness.builtin import MODEL_DIR
from harness.models import templates
from harness.models.templates import TemplateError
from harness.models.tokenizers import load_tokenizer

CHAT = [{"role": "system", "content": "é\u2028\x00 <b>"}, {"role": "user", "content": "Name a river."}]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(Model("builtin", MODEL_DIR, ""))


def rendered(tokenizer: Any, template: str) -> str:
    return str(tokenizer.apply_chat_template(CHAT, chat_template=template, tokenize=False, add_generation_prompt=True, more={"a": [1]}))


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.role }}: {{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}>{% endif %}",
        "{{ messages | tojson }}{{ tools }}{{ documents is none }}{{ more.a | length }}",
        "{% generation %}x{% endgeneration %}{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m }}{% endfor %}",
    ],
)
def test_a_template_is_rendered_as_by_transformers(tokenizer: Any, template: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    options = {**tokenizer.special_tokens_map, "more": {"a": [1]}}
    expected = render_jinja_template([CHAT], chat_template=template, add_generation_prompt=True, **options)[0][0]
    assert rendered(tokenizer, template) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for", "TemplateSyntaxError"),
        ("{{ raise_exception('Roles must alternate.') }}", "TemplateError: Roles must alternate"),
        ("{{ messages[0].x.y }}", "UndefinedError"),
        ("{{ 'a' * 10000000000 }}", "takes more than 1 GiB of memory"),
        ("{% for i in range(90000) %}{{ 'a' * 100 }}{% endfor %}", "writes 9000000 characters"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
    ],
)
def test_a_fault_of_a_template_is_one_line(tokenizer: Any, template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message) as found:
        rendered(tokenizer, template)
    assert "\n" not in str(found.value)
    assert "Name a river." in rendered(tokenizer, "{{ messages[1].content }}"), "the next one is rendered all the same"


def test_a_template_that_never_ends_is_ended(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(tokenizer, "x")
    monkeypatch.setattr(templates, "SECONDS", 2.0)
    begun = time.monotonic()
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(TemplateError, match="not rendered within 2 s"):
        rendered(tokenizer, loops)
    assert time.monotonic() - begun < 10
    monkeypatch.undo()
    assert rendered(tokenizer, "x") == "x"


def test_a_process_that_does_not_answer_is_ended(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(templates._Process):
        def _start(self) -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-c", "import time; time.sleep(600)"]
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
            self._owner = os.getpid()
            return self._child

    monkeypatch.setattr(templates, "_PROCESS", Silent())
    monkeypatch.setattr(templates, "SECONDS", 1.0)
    monkeypatch.setattr(templates, "_START", 1.0)
    begun = time.monotonic()
    with pytest.raises(TemplateError, match="not rendered within 1 s"):
        rendered(tokenizer, "{% for i in range(99999) %}{{ i }}{% endfor %}")
    assert time.monotonic() - begun < 15


def test_the_error_names_the_model(tmp_path: Path, tokenizer: Any) -> None:
    templates.belongs({"default": "{{ raise_exception('no') }}"}, tmp_path)
    with pytest.raises(TemplateError, match=f"the chat template of {tmp_path} says"):
        rendered(tokenizer, "{{ raise_exception('no') }}")
