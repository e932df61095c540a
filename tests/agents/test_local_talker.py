"""A model on this machine as a talker: real weights, a real child process."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agents.chat_template import user_opening
from agents.engines.local import LocalTalker
from agents.talk import Message, Question, Unreachable
from loop.presets import read_preset
from loop.training.scratch import build_student


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("talker") / "model"
    place.mkdir()
    build_student(read_preset("tiny").architecture, [("1 + 2", "1 + 2 = 3")], place, seed=0)
    return place


def question(text, **more):
    return Question((Message("user", text),), max_tokens=8, **more)


def test_many_threads_get_each_their_own_answer(folder, tmp_path):
    talker = LocalTalker(str(folder), tmp_path / "log")
    try:
        alone = {text: talker.ask(question(text)) for text in ("1 + 1", "7 - 3 + 5", "9")}
        beyond = talker.ask(question("1 + " * 2000))
        with ThreadPoolExecutor(12) as pool:
            together = list(pool.map(lambda text: (text, talker.ask(question(text))), list(alone) * 4))
    finally:
        talker.close()
    assert (beyond.text, beyond.finish) == ("", "length"), "longer than the model's positions"
    assert all(answer.text == alone[text].text for text, answer in together)
    assert {a.finish for a in alone.values()} <= {"stop", "length"}
    assert alone["9"].prompt_tokens < alone["7 - 3 + 5"].prompt_tokens
    assert threading.active_count() < 20


def test_a_users_turn_is_gone_on_with_from_the_models_own_template(folder, tmp_path):
    """Magpie on this machine: the opening is read from the folder, and the child puts nothing around it."""
    chat = tmp_path / "chat"
    shutil.copytree(folder, chat)
    (chat / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    opening = user_opening(chat)
    assert opening == "user: " and user_opening(folder) == ""
    talker, plain = LocalTalker(str(chat), tmp_path / "log"), LocalTalker(str(folder), tmp_path / "log")
    try:
        asked = [Question((), max_tokens=8, whole=text) for text in (opening, "1 + 1\n")]
        with ThreadPoolExecutor(3) as pool:
            begun, whole = pool.map(talker.ask, asked)
        turn = plain.ask(question("1 + 1"))
    finally:
        talker.close()
        plain.close()
    assert begun.prompt_tokens == len(opening) and begun.completion_tokens > 0
    assert whole == turn, "the same text, with and without a template around turns"


def test_a_model_that_is_not_there_is_said_in_one_line(tmp_path):
    talker = LocalTalker(str(tmp_path / "nothing"), tmp_path / "log")
    with pytest.raises(Unreachable, match="nothing") as caught:
        talker.ask(question("1 + 1"))
    talker.close()
    assert "\n" not in str(caught.value)
