"""How a model's template begins a user's turn: read from its folder, and the same as transformers has it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents.chat_template import opening_of, user_opening

TURNS = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>\n{% endfor %}"
SYSTEM = (
    "{{- bos_token }}\n{%- if messages[0].role != 'system' %}\n    {{- '<|system|>You are kind.<|end|>\n' }}\n"
    "{%- endif %}\n{%- for m in messages %}\n  {%- if m.role == 'ghost' %}{% continue %}{% endif %}\n"
    "    {{- '<|' + m.role + '|>' + m.content }}\n{%- endfor %}\n"
)


def folder(place: Path, template: object, bos: object = "<s>", **more: Any) -> Path:
    told = {"bos_token": bos, "chat_template": template} | more
    (place / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    return place


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        (TURNS, "<|user|>\n"),
        (SYSTEM, "<s><|system|>You are kind.<|end|>\n<|user|>"),
        ([{"name": "tools", "template": "x"}, {"name": "default", "template": TURNS}], "<|user|>\n"),
        ("{{ strftime_now('%Y') }} {{ messages[0].content }}", "2025 "),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "'),
        ("{{ raise_exception('no system turn') }}", ""),
        ("{% if %}", ""),
        ("{{ messages[0].content.nothing.there }}", ""),
        ("{{ ''.__class__.__mro__ }}{{ messages[0].content }}", ""),
        ("no words of a user", ""),
        (None, ""),
    ],
)
def test_an_opening_is_what_stands_before_the_words(template: object, opening: str, tmp_path: Path) -> None:
    assert user_opening(folder(tmp_path, template)) == opening


def test_a_file_of_its_own_goes_first_and_a_server_adds_the_first_token_itself(tmp_path: Path) -> None:
    assert user_opening(tmp_path) == ""
    folder(tmp_path, TURNS, bos={"content": "<s>"})
    (tmp_path / "chat_template.jinja").write_text(SYSTEM, encoding="utf-8")
    assert user_opening(tmp_path) == "<s>" + user_opening(tmp_path, begun=True)
    (tmp_path / "tokenizer_config.json").write_text("[]", encoding="utf-8")
    assert user_opening(tmp_path).startswith("<|system|>")


def test_transformers_says_the_same(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    for template in (TURNS, SYSTEM):
        plain = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1}, unk_token="<unk>"))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", unk_token="<unk>")
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path)
        there = opening_of(partial(tokenizer.apply_chat_template, tokenize=False))
        assert there and user_opening(tmp_path) == there
