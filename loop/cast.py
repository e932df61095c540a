"""The cast: who plays which part. An entry is a word of the house, or a model and where it runs."""

import difflib
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from agents.purse import FREE
from agents.purse import Prices as Tariff
from loop.sources import Settings, Text, mistake

HOUSE = {
    "rules": ("orchestrator",), "uniform": ("orchestrator",), "verifier": ("critic", "judge"),
    "reward": ("critic",), "student": ("sampler", "teachers", "weak", "strong"),
}  # fmt: skip
"""The words of the house, and the parts that each can play."""
SCRIPTS = {
    "orchestrator": "scripted/planner", "critic": "scripted/critic", "judge": "scripted/critic",
    "challenger": "scripted/challenger", "weak": "scripted/weak", "strong": "scripted/strong",
}  # fmt: skip
"""The script of agents/scripts for a part; a sampler may be any scripted student."""
PARTS = ("orchestrator", "sampler", "critic", "challenger", "weak", "strong", "judge", "teachers")
ALONE = {"orchestrator": "plans", "weak": "answers", "strong": "answers", "judge": "judges"}
"""Parts that one player plays, and what it does."""
OPENAI = "https://api.openai.com/v1"
"""Where engine openai asks when no endpoint is written."""


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or re.search(r"[^!-~]", value):
        raise mistake("is no address; write one such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise mistake("is more than an address; keep keys out of it, and name their variable in api_key_env")
    if re.search(r"/(completions|models)/?$", parts.path):
        raise mistake("is the address of one call; write the base of them, which often ends in /v1")
    return value.rstrip("/")


def _variable(value: str) -> str:
    """The name of a variable of the environment. A key that stands here by mistake is nowhere repeated."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,99}", value) or re.fullmatch(r"(?=.*\d)[A-Z0-9]{16,}", value):
        raise mistake("is no name of a variable; put the key into one, and write its name, such as OPENAI_API_KEY")
    return value


def check_model(name: str, folder: Path | None, more: str = "") -> None:
    """Whether a name can be that of a model: a folder with a config.json, or an id of the hub.

    Args: folder: what names of folders are relative to; None checks nothing. more: what else may be written.
    Raises: PydanticCustomError (see `mistake`).
    """
    if folder is None:
        return
    try:
        is_folder, is_model = (folder / name).is_dir(), (folder / name / "config.json").is_file()
    except (OSError, ValueError):
        is_folder = is_model = False
    if is_folder and not is_model:
        raise mistake("is a folder without a model; write a folder that holds config.json")
    if not is_folder and not re.fullmatch(r"\w[\w.-]*(/[\w.-]*\w)?", name, re.ASCII):
        raise mistake(f"is no folder and no model id; write one{more}")


class Prices(Settings):
    """Dollars a million tokens."""

    input: Annotated[float, Field(ge=0, le=10**6)]
    output: Annotated[float, Field(ge=0, le=10**6)]


class Player(Settings):
    """Who plays a part: a word of the house (rules, uniform, verifier, student), or a model."""

    model: Text
    """The word; or scripted/<name>, a folder relative to OBJECTIVE.md, a model id, an endpoint's own name."""
    engine: Literal["transformers", "vllm", "openai", "ray", "scripted"] | None = None
    """As written; None is chosen on the machine (loop/needs.py `resolve_engine`)."""
    endpoint: Annotated[Text, AfterValidator(_address)] | None = None
    """As written, without a slash at its end; `address` is where the model is asked."""
    api_key_env: Annotated[Text, AfterValidator(_variable)] | None = None
    """Name of the environment variable that holds the key, as written; see `key_variable`."""
    prices: Prices | None = None
    user_turn: Annotated[str, Field(min_length=1, max_length=4000)] | None = None
    """How its chat template begins a user's turn, for magpie; models of this machine tell theirs."""

    @property
    def is_word(self) -> bool:
        """Whether it is a word of the house and no model of its own."""
        return self.model in HOUSE

    @property
    def address(self) -> str:
        """Base address of the endpoint that is asked; "" for what runs on this machine."""
        return self.endpoint or (OPENAI if self.engine == "openai" else "")

    @property
    def key_variable(self) -> str:
        """Name of the variable that holds the key; "" where none is needed. OpenAI's key goes nowhere else."""
        return self.api_key_env or ("OPENAI_API_KEY" if self.address.split("/")[:3] == OPENAI.split("/")[:3] else "")

    @property
    def tariff(self) -> Tariff:
        """What it costs; free where no prices are written."""
        return Tariff(self.prices.input, self.prices.output) if self.prices else FREE

    @property
    def is_public(self) -> bool:
        """Whether its endpoint is anyone's: neither this machine nor an address or name of a local network."""
        host = (urlsplit(self.address).hostname or "").rstrip(".")
        try:
            return ipaddress.ip_address(host).is_global
        except ValueError:
            return "." in host and not host.endswith((".localhost", ".local", ".lan", ".internal"))

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> "Player":
        if self.engine == "ray":
            raise mistake("is not available yet; write transformers, vllm or openai", "engine")
        if self.endpoint and self.engine not in (None, "openai"):
            raise mistake(f"is for engine openai, not {self.engine}; take one of the two out", "endpoint")
        if self.is_word:
            self._check_word()
        elif self.api_key_env and not self.address:
            raise mistake("is for a model at an endpoint; write endpoint, or take it out", "api_key_env")
        elif self.model.startswith("scripted/") or self.engine == "scripted":
            self._check_script()
        elif not self.address:
            self._check_name(info.context["folder"] if info.context else None)
        return self

    def _check_word(self) -> None:
        for key in ("endpoint", "api_key_env", "prices", "user_turn"):
            if getattr(self, key) is not None:
                raise mistake(f"is for a model, and {self.model} is none; take it out", key)
        fit = {"student": ("transformers", "vllm", "scripted"), "uniform": ("scripted",)}.get(self.model, ())
        if self.engine not in (None, *fit):
            raise mistake(f"is no engine for {self.model}; take it out", "engine")

    def _check_script(self) -> None:
        if not re.fullmatch(r"scripted/[\w.-]+", self.model, re.ASCII):
            raise mistake("is no script; write scripted/<name>", "model")
        if self.address or self.engine not in (None, "scripted"):
            raise mistake("is a script, which needs no endpoint and no other engine; take those out", "model")

    def _check_name(self, folder: Path | None) -> None:
        if self.model.startswith("scratch/"):
            raise mistake("is a preset of a student and no model; write student, or a model", "model")
        close = difflib.get_close_matches(self.model, HOUSE, cutoff=0.75)
        if close and self.model.isalpha() and not (folder and (folder / self.model).is_dir()):
            raise mistake(f"is no model of that name; did you mean {' or '.join(close)}?", "model")
        check_model(self.model, folder)


def _as_players(value: object) -> object:
    """Bring an entry of the cast into its one form: a tuple of mappings."""
    return tuple(_as_player(entry) for entry in (value if isinstance(value, list | tuple) else (value,)))


def _as_player(entry: object) -> object:
    player = {"model": entry} if isinstance(entry, str) else entry
    if isinstance(player, dict) and player.get("model") == "uniform":
        return player | {"engine": player.get("engine") or "scripted"}
    return player


def _as_samplers(value: object) -> object:
    """As `_as_players`; {engine: vllm} alone is the student's."""
    entries = value if isinstance(value, list | tuple) else (value,)
    return _as_players(
        tuple({"model": "student"} | e if isinstance(e, dict) and e.keys() == {"engine"} else e for e in entries)
    )


Players = Annotated[tuple[Player, ...], BeforeValidator(_as_players), Field(min_length=1)]
Samplers = Annotated[tuple[Player, ...], BeforeValidator(_as_samplers), Field(min_length=1)]


class Cast(Settings):
    """Who plays which part; every entry is a tuple, of one player where one is written."""

    orchestrator: Players = (Player(model="rules"),)
    sampler: Samplers = (Player(model="student"),)
    critic: Players = (Player(model="verifier"),)
    """Verifiers run first wherever a problem has one; models, and `reward` that each round trains, judge the rest."""
    challenger: Players | None = None
    weak: Players | None = None
    strong: Players | None = None
    judge: Players | None = None
    teachers: Players | None = None

    @property
    def critics(self) -> tuple[Player, ...]:
        """The critics that are models, in the order in which they are written."""
        return tuple(player for player in self.critic if not player.is_word)

    @property
    def everyone(self) -> tuple[Player, ...]:
        """All players there are."""
        return tuple(player for part in PARTS for player in getattr(self, part) or ())

    def models(self) -> Iterator[tuple[str, int, Player]]:
        """Every player that is a model of its own, with its part and its place there."""
        for part in PARTS:
            yield from ((part, i, p) for i, p in enumerate(getattr(self, part) or ()) if not p.is_word)

    @field_validator("*")
    @classmethod
    def _can_be_played(cls, players: tuple[Player, ...] | None, info: ValidationInfo) -> tuple[Player, ...] | None:
        if players is None:
            return None
        part = info.field_name or ""
        words = " or ".join(word for word, parts in HOUSE.items() if part in parts)
        for i, player in enumerate(players):
            script = SCRIPTS.get(part, player.model)
            if part not in HOUSE.get(player.model, (part,)):
                raise mistake(f"cannot play {part}; write {words}, or a model", i)
            if player.model.startswith("scripted/") and player.model != script:
                raise mistake(f"is no script for {part}; write {script}", i)
            if any(_same(player, other) for other in players[:i]):
                raise mistake("stands there twice; keep one", i)
        if part in ALONE and len(players) > 1:
            raise mistake(f"are several, and one {ALONE[part]}; write {words}, or one model")
        return players

    def check_money(self, usd: float | None) -> None:
        """Whether a cap of so many dollars can hold.

        Raises: PydanticCustomError (see `mistake`).
        """
        for part, i, player in self.models() if usd is not None else ():
            if player.prices is None and player.is_public:
                words = "is missing, and the dollar cap cannot hold; write prices: {input: ..., output: ...}"
                raise mistake(words, "cast", part, i, "prices")
            if usd == 0 and player.tariff != FREE:
                words = f"cost dollars, and budget.usd: 0 forbids {player.model}; raise it, or take the model out"
                raise mistake(words, "cast", part, i, "prices")


def _same(one: Player, other: Player) -> bool:
    return (one.model, one.address) == (other.model, other.address) and (one.engine == other.engine or one.is_word)
