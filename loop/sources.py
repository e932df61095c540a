"""What problems come from: rows of a file, or a task of reasoning_gym with its levels."""

import difflib
import importlib
import itertools
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from agents.strategies import Level
from loop.code_tasks import RUNS_ANSWERS
from loop.errors import ObjectiveError
from loop.verifiers import VERIFIERS, check_answer, read_number

GYM = "reasoning_gym/"
MOST_LEVELS = 1000
MOST_NAMED = 20
KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    str: ((str,), "text"),
}


def mistake(words: str, *key: str | int) -> PydanticCustomError:
    """What a validator raises: words for a person, and the key below the value that is being validated."""
    return PydanticCustomError("mistake", "{words}", {"words": words, "key": key})


def closest(word: str, known: Iterable[str]) -> str:
    """What a person who wrote `word` may have meant: the close matches, or else all that is known."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known)
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known[:MOST_NAMED])}{more}"


def as_tuple(value: object) -> object:
    """One value, or a list of them, as a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _pair(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise mistake("is not a range; write [low, high]")
    return tuple(value)


def existing_file(name: str, info: ValidationInfo) -> str:
    """The name, if it is a file in the folder that the validation was given."""
    if info.context is None:
        return name
    try:
        path = info.context["folder"] / name
        wrong = "a folder" if path.is_dir() else "" if path.is_file() else "not a file that exists"
    except (OSError, ValueError):
        wrong = "no name of a file"
    if wrong:
        raise mistake(f"is {wrong}; write the path of a file, relative to the folder of the objective")
    return name


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
File = Annotated[Text, AfterValidator(existing_file)]
Names = Annotated[tuple[Text, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Size = Annotated[int, Field(gt=0, le=10**6)]
Range = Annotated[tuple[int, int], BeforeValidator(_pair)]
Filled = Annotated[str, StringConstraints(pattern=r"\S")]


class Settings(BaseModel):
    """Base of what a person sets: frozen, no key and no kind of value but those declared."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Source(Settings):
    """Where problems come from: a generator of reasoning_gym, or a file of rows {"prompt", "answer"}."""

    source: Text
    """reasoning_gym/<task>, or a file relative to OBJECTIVE.md."""
    config: dict[str, Any] = {}
    sweep: dict[str, Range] = {}
    """Name to (low, high), both included: one level a value, min_<name> = max_<name> = value."""
    verifier: Names | None = None
    """As written; `verifiers` is what it comes to."""
    skill: Text | None = None
    weight: Annotated[float, Field(gt=0, le=10**6)] = 1.0
    answer: Text = "####"
    """Where the answer stands: after the last such marker, or "boxed", or "tags"."""

    @property
    def is_file(self) -> bool:
        """Whether the problems are rows of a file."""
        return not self.source.startswith(GYM)

    @property
    def task(self) -> str:
        """The name of the reasoning_gym task."""
        return self.source.removeprefix(GYM)

    @property
    def verifiers(self) -> tuple[str, ...]:
        """The one verifier of the answer, by default scorer or exact; then equations, where asked for."""
        written = self.verifier or ()
        answer = [name for name in written if name != "equations"] or ["exact" if self.is_file else "scorer"]
        return (*answer, *(name for name in written if name == "equations"))

    def levels(self) -> list[dict[str, int]]:
        """Every level of the sweep, lowest first: a value for each of its names. Without a sweep [{}]."""
        ranges = (range(low, high + 1) for low, high in self.sweep.values())
        return [dict(zip(self.sweep, values, strict=True)) for values in itertools.product(*ranges)]

    def config_at(self, level: dict[str, int]) -> dict[str, Any]:
        """The task's configuration at one of `levels()`."""
        return self.config | {f"{end}_{name}": k for name, k in level.items() for end in ("min", "max")}

    @field_validator("verifier")
    @classmethod
    def _known_verifiers(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        written = names or ()
        for name in written:
            if name not in (*VERIFIERS, "equations"):
                raise mistake(f"is no verifier; {closest(name, (*VERIFIERS, 'equations'))}")
        if len(set(written) - {"equations"}) > 1 or len(set(written)) < len(written):
            raise mistake("names more than one verifier of the answer; write one, or [one, equations]")
        return names

    @model_validator(mode="after")
    def _fits_its_source(self, info: ValidationInfo) -> "Source":
        if not self.is_file:
            _check_task(self)
            if self.task in RUNS_ANSWERS and "scorer" in self.verifiers:
                words = "runs the student's answer as code, and there is no sandbox; write verifier: exact, or take"
                raise mistake(f"{words} another task", "source")
            return self
        for key in ("config", "sweep"):
            if getattr(self, key):
                raise mistake("is not for a file; take it out", key)
        if "scorer" in self.verifiers:
            raise mistake("is not for a file; write exact, numeric or math", "verifier")
        try:
            existing_file(self.source, info)
        except PydanticCustomError as error:
            raise mistake(f"{error}, or {GYM}<task>", "source") from error
        return self


def _check_task(source: Source) -> None:
    """Check a source against its task. Imports reasoning_gym, which takes about a second."""
    tasks = importlib.import_module("reasoning_gym.factory").DATASETS
    if source.task not in tasks:
        raise mistake(f"is no task of reasoning_gym; {closest(source.task, tasks)}", "source")
    kind: Any = tasks[source.task][1]
    known = {field.name: field for field in fields(kind) if field.name not in ("seed", "size")}
    for key, value in source.config.items():
        if key in ("seed", "size"):
            raise mistake("is set by the loop; take it out", "config", key)
        if key not in known:
            raise mistake(f"is no setting of {source.task}; {closest(key, known)}", "config", key)
        kinds, words = KINDS.get(known[key].type, ((type(value),), ""))
        if type(value) not in (*kinds, type(known[key].default)):
            raise mistake(f"is not {words}; mend the value", "config", key)
    pairs = [key[4:] for key in known if key.startswith("min_") and f"max_{key[4:]}" in known]
    pairs = [name for name in pairs if known[f"min_{name}"].type in (int, float)]
    for name, (low, high) in source.sweep.items():
        if name not in pairs:
            has = f"write one of {', '.join(pairs)}" if pairs else "it has no such pair, take sweep out"
            raise mistake(f"is not a min_ and max_ pair of {source.task}; {has}", "sweep", name)
        if low > high:
            raise mistake("has its low end above its high end; write [low, high]", "sweep", name)
        if source.config.keys() & {f"min_{name}", f"max_{name}"}:
            raise mistake(f"is set in config too; take min_{name} and max_{name} out there", "sweep", name)
    if math.prod(high - low + 1 for low, high in source.sweep.values()) > MOST_LEVELS:
        raise mistake(f"makes more than {MOST_LEVELS} levels; narrow it", "sweep")
    alone = _objection(kind, source.config)
    for level in source.levels():
        if words := _objection(kind, source.config_at(level)):
            key = "config" if words == alone else "sweep"
            raise mistake(f"is refused by {source.task} ({words}); change it", key)


def _objection(kind: Any, config: dict[str, Any]) -> str:
    """What the task's own check says against a configuration, or ""."""
    try:
        made = kind(**config)
        if hasattr(made, "validate"):
            made.validate()
    except (AssertionError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        return str(error) or type(error).__name__
    return ""


class Row(BaseModel):
    """One line of a file that a person brings; further keys of the line are left aside."""

    model_config = ConfigDict(frozen=True, strict=True)

    prompt: Filled
    skill: Filled | None = None
    level: Level = None


class Demonstration(Row):
    """A prompt with a worked response."""

    response: Filled


class ProblemRow(Row):
    """A prompt with its answer; an answer that is a JSON number is taken as text."""

    answer: Annotated[Filled, BeforeValidator(lambda v: str(v) if type(v) in (int, float) else v)]
    solution: Filled | None = None
    """Reference code of an exam problem, by whose syntax tree copies are found."""


R = TypeVar("R", bound=BaseModel)


def read_problem_rows(source: Source, folder: Path) -> list[ProblemRow]:
    """The problems of a source that is a file.

    Raises: ObjectiveError, "<file>:<line> <what is wrong>; <mend>"; also
    for an answer that the source's verifier could never find right.
    """
    return read_rows(folder / source.source, ProblemRow, lambda row: _wrong_answer(row, source.verifiers[0]))


def _wrong_answer(row: ProblemRow, verifier: str) -> str:
    if verifier == "numeric" and read_number(row.answer) is None:
        return "has an answer that is not a plain number; mend it, or take the verifier exact or math"
    if verifier == "regex":
        try:
            check_answer("regex", "#### 0", row.answer)
        except ObjectiveError as error:
            return f"has an {error}; mend it, or take the verifier exact"
    return ""


def read_rows(path: Path, kind: type[R], wrong: Callable[[R], str] = lambda _: "") -> list[R]:
    """All rows of a file of JSON lines; empty ones are skipped. `wrong` says what else is wrong with a row.

    Raises: ObjectiveError, "<file>:<line> <what is wrong>; <mend>".
    """
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except (OSError, ValueError) as error:
        raise ObjectiveError(f"{path.name} cannot be read; check that it is there") from error
    rows = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            try:
                rows.append(_row(line, kind))
                words = wrong(rows[-1])
            except ObjectiveError as error:
                words = str(error)
            if words:
                raise ObjectiveError(f"{path.name}:{number} {words}")
    if not rows:
        raise ObjectiveError(f"{path.name} has no rows; write one JSON object a line")
    return rows


def _row(line: bytes, kind: type[R]) -> R:
    required = (key for key, field in kind.model_fields.items() if field.is_required())
    mend = "write {" + ", ".join(f'"{key}": ...' for key in required) + "}"
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ObjectiveError("is not UTF-8 text; save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ObjectiveError(f"is not JSON; {mend} on one line") from error
    if not isinstance(row, dict):
        raise ObjectiveError(f"is not an object; {mend}")
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        key, wrong = error.errors()[0]["loc"][0], error.errors()[0]["type"]
        words = f'has no "{key}"' if wrong == "missing" else f'has a "{key}" that is empty or not text'
        raise ObjectiveError(f"{words}; {mend}") from error
