"""The talker at an OpenAI-compatible endpoint: how orchestrators and critics that are models are asked."""

from __future__ import annotations

from typing import Any

from agents.engines.background import Background
from agents.engines.faults import Endpoint, NoChat, Refused
from agents.engines.pace import PATIENCE, Patience
from agents.engines.responses import Response
from agents.engines.wire import CHAT, COMPLETIONS, Wire
from agents.purse import FREE, Purse
from agents.talk import Answer, Question, transcript


class EndpointTalker:
    """A model at an endpoint, chat or base. Close it when it is not asked any more."""

    def __init__(self, endpoint: Endpoint, purse: Purse | None = None, patience: Patience = PATIENCE) -> None:
        """`purse` pays; without one nothing is counted. Several talkers may share one if their prices are the same.

        Raises: EngineError when the key is missing or the address is none.
        """
        self.model = endpoint.model
        self._wire = Wire(endpoint, purse or Purse(None, FREE), patience)
        self._background = Background()

    def ask(self, question: Question) -> Answer:
        """See Talker. A question too long for the model gets an empty answer with the finish `length`.

        Raises: PurseEmpty too.
        """
        asked = self._background.start(self._ask(question))
        try:
            return asked.result()
        finally:
            asked.cancel()

    def close(self) -> None:
        """Hang up; who still waits for an answer gets a CancelledError."""
        self._background.close(self._wire)

    async def _ask(self, question: Question) -> Answer:
        try:
            return _answer(await self._sent(question))
        except Refused as refused:
            if refused.one_prompt:
                return Answer("", "length", 0, 0)
            raise self._wire.refusal(refused) from refused

    async def _sent(self, question: Question) -> Response:
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": question.max_tokens,
            "temperature": question.temperature,
            "seed": question.seed,
        }
        if question.schema is not None:
            schema = {"name": "reply", "schema": question.schema, "strict": False}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if question.whole is not None:
            return await self._wire.send(COMPLETIONS, body | {"prompt": question.whole}, learn=False)
        if not self._wire.base:
            turns = [{"role": turn.role, "content": turn.content} for turn in question.messages]
            try:
                return await self._wire.send(CHAT, body | {"messages": turns})
            except NoChat:
                pass
        return await self._wire.send(COMPLETIONS, body | {"prompt": transcript(question.messages)})


def _answer(response: Response) -> Answer:
    choice, usage = response.choices[0], response.usage
    assert usage is not None, "the wire sets it"
    finish = "stop" if choice.finish == "error" else choice.finish
    return Answer(choice.said, finish, usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
