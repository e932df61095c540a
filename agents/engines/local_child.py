"""The child of `LocalTalker`, called with a model: for each line of questions a line of answers."""

from __future__ import annotations

import json
import os
import sys
import threading
from queue import SimpleQueue
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from agents.engines import Request, SamplingJob
from agents.engines.transformers import TransformersEngine, load_student
from agents.talk import Message, transcript


def main() -> None:
    """Answer until the end of the input, which is the end of the parent too."""
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what a library prints must not stand among the answers
        model, tokenizer = load_student(sys.argv[1])
        while True:
            print(json.dumps(answers(model, tokenizer, json.loads(lines.get()))), file=out, flush=True)


def answers(model: Any, tokenizer: PreTrainedTokenizerBase, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers to a batch, in order; those of one temperature and length are drawn together."""
    alike: dict[tuple[float, int], list[int]] = {}
    found: dict[int, dict[str, Any]] = {}
    texts = [_text(tokenizer, question) for question in questions]
    for place, question in enumerate(questions):
        length = len(tokenizer(texts[place], add_special_tokens=False)["input_ids"])
        room = model.config.max_position_embeddings - length
        if room <= 0:  # as at an endpoint: a question too long for the model is cut off before it is answered
            found[place] = {"text": "", "finish": "length", "prompt_tokens": 0, "completion_tokens": 0}
        else:
            alike.setdefault((question["temperature"], min(room, question["max_tokens"])), []).append(place)
    for (temperature, most), places in alike.items():
        job = SamplingJob(
            model="",
            requests=tuple(Request(f"{place:x}", texts[place]) for place in places),
            temperature=temperature,
            max_new_tokens=most,
            seed=questions[places[0]]["seed"],
            whole_prompts=True,
        )
        for batch in TransformersEngine().complete_with(model, tokenizer, job):
            for row in batch:
                found[int(row.key, 16)] = {
                    "text": row.text,
                    "finish": row.finish,
                    "prompt_tokens": row.prompt_tokens,
                    "completion_tokens": row.completion_tokens,
                }
    return [found[place] for place in range(len(questions))]


def _text(tokenizer: PreTrainedTokenizerBase, question: dict[str, Any]) -> str:
    """A bare text, or a conversation through the chat template, where there is one; one without a system turn gets
    none.
    """
    if question["whole"] is not None:
        return str(question["whole"])
    messages = question["messages"]
    turns = [Message(**message) for message in messages]
    if not getattr(tokenizer, "chat_template", None):
        return transcript(turns)
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except jinja2.TemplateError:
        first = "\n\n".join(turn.content for turn in turns[:2])
        joined = [{"role": "user", "content": first}, *messages[2:]]
        return str(tokenizer.apply_chat_template(joined, tokenize=False, add_generation_prompt=True))


def _listen(lines: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
