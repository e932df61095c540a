"""How a problem is put to a student: one place, for training, sampling and serving alike."""

from __future__ import annotations

from typing import Any


def student_prompt(tokenizer: Any, prompt: str) -> str:
    """The text that the student continues: through its chat template where it has one, else the prompt and a
    line break.
    """
    if getattr(tokenizer, "chat_template", None):
        turns = [{"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    return prompt + "\n"
