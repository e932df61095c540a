"""OBJECTIVE.md: its front matter as strict frozen models; every mistake in it as one line for a person."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from loop.errors import ObjectiveError
from loop.presets import preset_names
from loop.sources import (
    Demonstration,
    File,
    Names,
    ProblemRow,
    Settings,
    Size,
    Source,
    Text,
    as_tuple,
    closest,
    mistake,
    read_problem_rows,
    read_rows,
)

__all__ = [
    "Demonstration",
    "Objective",
    "ProblemRow",
    "Source",
    "read_demonstrations",
    "read_objective",
    "read_problem_rows",
]

MOST_BYTES = 200_000
MOST_DEPTH = 20
MOST_LINES = 10
THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def _fraction(value: float) -> float:
    if not 0 <= value <= 1:
        raise mistake("is not between 0 and 1; write a fraction such as 0.85")
    return value


def _tokens(value: object) -> object:
    """Read 300k, 20M and 1.5B as whole numbers."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kmb]?)", value.strip().lower())
    number = Decimal(match[1]) * THOUSANDS[match[2]] if match else Decimal("0.5")
    if number % 1:
        raise mistake("is not a number of tokens; write one such as 300k, 20M or 1.5B")
    return int(number)


def _as_players(value: object) -> object:
    """Bring an entry of the cast into its one form: a tuple of mappings."""
    plain = {"uniform": {"model": "uniform", "engine": "scripted"}}
    entries = value if isinstance(value, list | tuple) else (value,)
    return tuple(plain.get(e, {"model": e}) if isinstance(e, str) else e for e in entries)


Fraction = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_fraction)]
Amount = Annotated[float, Field(gt=0, le=10**9)]
Price = Annotated[float, Field(ge=0)]


class ExamSource(Source):
    """A source that an exam is taken from. Of a file it takes `size` rows, by default all; a generator has no
    end, so there `size` is required.
    """

    size: Size | None = None

    @model_validator(mode="after")
    def _ends(self) -> "ExamSource":
        if not self.is_file and self.size is None:
            raise mistake("is missing, and a generator has no end; write a number such as 300", "size")
        return self


class Exam(Settings):
    """{from: practice, size}, or a list of sources: then `sources` is filled and `size` is None."""

    from_: Literal["practice"] | None = Field(default=None, alias="from")
    size: Size | None = None
    sources: tuple[ExamSource, ...] = ()

    @property
    def from_practice(self) -> bool:
        """Whether the problems are drawn from the sources of practice."""
        return not self.sources

    @model_validator(mode="before")
    @classmethod
    def _one_of_two_forms(cls, value: object) -> object:
        if isinstance(value, list | tuple) and value:
            return {"sources": tuple(value)}
        if not isinstance(value, dict) or "sources" in value:
            raise mistake("is no exam; write {from: practice, size: 300} or a list of sources")
        return value

    @model_validator(mode="after")
    def _complete(self) -> "Exam":
        if self.from_practice and self.from_ is None:
            raise mistake("is missing; write from: practice", "from")
        if self.from_practice and self.size is None:
            raise mistake("is missing; write how many problems, such as 300", "size")
        return self


class Tasks(Settings):
    """What is practised, and the two exams."""

    practice: Annotated[tuple[Source, ...], Field(strict=False, min_length=1)]
    dev: Exam
    test: Exam


class Budget(Settings):
    """What may be spent, whichever ends first; None is no limit."""

    rounds: Annotated[int, Field(gt=0, le=999)] | None = None
    minutes: Amount | None = None
    tokens: Annotated[int, BeforeValidator(_tokens), Field(gt=0, le=10**18)] | None = None
    usd: Annotated[float, Field(ge=0, le=10**9)] | None = None
    """Dollars; 0 forbids models with a price."""

    @model_validator(mode="after")
    def _ends(self) -> "Budget":
        if self.rounds is None and self.minutes is None:
            raise mistake("has neither rounds nor minutes; write one, such as {rounds: 6}")
        return self


class Training(Settings):
    """What the plan may choose from; `Objective.weights` says what `weights` comes to."""

    method: Literal["auto", "sft", "dpo", "grpo", "distill"] = "auto"
    weights: Literal["full", "lora"] | None = None
    start: Literal["base", "best"] = "best"

    @field_validator("method")
    @classmethod
    def _is_built(cls, method: str) -> str:
        if method not in METHODS_BUILT:
            raise mistake(f"is not available yet; write {' or '.join(METHODS_BUILT)}")
        return method


class Prices(Settings):
    """Dollars a million tokens."""

    input: Price
    output: Price


class Player(Settings):
    """Who plays a part: a word of the house (rules, uniform, verifier, student), or a model."""

    model: Text
    engine: Literal["transformers", "vllm", "openai", "ray", "scripted"] | None = None
    endpoint: Text | None = None
    api_key_env: Text | None = None
    """Name of the environment variable that holds the key."""
    prices: Prices | None = None


Players = Annotated[tuple[Player, ...], BeforeValidator(_as_players), Field(min_length=1)]

CATALOGUE = ("rejection_sampling",)
"""The strategies there are."""
METHODS_BUILT = ("auto", "sft")
RULES, UNIFORM = Player(model="rules"), Player(model="uniform", engine="scripted")
PLAYERS_BUILT: dict[str, tuple[Player, ...] | None] = {
    "orchestrator": (RULES, UNIFORM),
    "sampler": (Player(model="student"),),
    "critic": (Player(model="verifier"),),
    "challenger": (),
    "weak": (),
    "strong": (),
    "judge": (),
    "teachers": (),
}
"""Who can play each part today; None lifts the restriction."""


class Cast(Settings):
    """Who plays which part; every entry is a tuple, of one player where one is written."""

    orchestrator: Players = (RULES,)
    sampler: Players = (Player(model="student"),)
    critic: Players = (Player(model="verifier"),)
    challenger: Players | None = None
    weak: Players | None = None
    strong: Players | None = None
    judge: Players | None = None
    teachers: Players | None = None

    @field_validator("*")
    @classmethod
    def _is_built(cls, players: tuple[Player, ...] | None, info: ValidationInfo) -> tuple[Player, ...] | None:
        built = PLAYERS_BUILT[info.field_name or ""]
        if players is None or built is None or (len(players) == 1 and players[0] in built):
            return players
        words = " or ".join(player.model for player in built)
        raise mistake(f"is not available yet; {f'write {words}' if words else 'take the key out'}")


class Critic(Settings):
    """How a critic that is a model is told to judge, and when it is believed."""

    rubric: File | None = None
    bar: Fraction = 0.8
    """Agreement with gold below which it isn't believed."""


class Strategies(Settings):
    """Which strategies a plan may use; `allow` None is all of them."""

    allow: Names | None = None
    deny: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = ()

    @model_validator(mode="after")
    def _leave_one(self) -> "Strategies":
        for key in ("allow", "deny"):
            for name in getattr(self, key) or ():
                if name not in CATALOGUE:
                    raise mistake(f"is no strategy; {closest(name, CATALOGUE)}", key)
        if not set(self.allow or CATALOGUE) - set(self.deny):
            raise mistake("leaves no strategy to plan with; allow one")
        return self


class FrontMatter(Settings):
    """The keys of OBJECTIVE.md."""

    student: Text
    """scratch/<preset>, scripted/<name>, a model id, or a folder relative to OBJECTIVE.md."""
    demonstrations: File | None = None
    documents: File | None = None
    tasks: Tasks
    goal: Fraction | None = None
    budget: Budget
    control: bool = True
    training: Training = Training()
    cast: Cast = Cast()
    critic: Critic = Critic()
    strategies: Strategies = Strategies()
    unsafe_code: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @field_validator("documents", "critic", "unsafe_code")
    @classmethod
    def _is_built(cls, value: object) -> object:
        if value not in (None, False, Critic()):
            raise mistake("is not available yet; take the key out")
        return value

    @field_validator("student")
    @classmethod
    def _known_student(cls, name: str, info: ValidationInfo) -> str:
        family, _, rest = name.partition("/")
        if family == "scratch" and rest not in preset_names():
            raise mistake(f"is no preset; {closest(name, [f'scratch/{known}' for known in preset_names()])}")
        if family == "scripted" and not rest:
            raise mistake("has no name; write scripted/<name>")
        if family in ("scratch", "scripted") or info.context is None:
            return name
        try:
            folder = info.context["folder"] / name
            is_folder, is_model = folder.is_dir(), (folder / "config.json").is_file()
        except (OSError, ValueError):
            is_folder = is_model = False
        if is_folder and not is_model:
            raise mistake("is a folder without a model; write a folder that holds config.json")
        if not is_folder and not re.fullmatch(r"\w[\w.-]*(/[\w.-]*\w)?", name, re.ASCII):
            raise mistake("is no folder and no model id; write one, or scratch/<preset>")
        return name

    @model_validator(mode="after")
    def _can_be_built(self) -> "FrontMatter":
        if self.student.startswith("scratch/") and self.demonstrations is None:
            raise mistake("is missing, and builds a scratch student; name a file", "demonstrations")
        return self


class Objective(FrontMatter):
    """What the human wrote: the front matter, and the prose below it as `text`."""

    text: str
    path: Path
    """Of the file, absolute."""

    @property
    def folder(self) -> Path:
        """What the files and folders of the objective are relative to."""
        return self.path.parent

    @property
    def weights(self) -> Literal["full", "lora"]:
        """Which weights are trained: as written; else all of a scratch student, an adapter of any other."""
        return self.training.weights or ("full" if self.student.startswith("scratch/") else "lora")

    def digest_fields(self) -> dict[str, Any]:
        """The front matter with its defaults as canonical JSON values, but for budget and goal."""
        kept = self.model_dump(mode="json", by_alias=True, exclude={"budget", "goal", "text", "path"})
        return dict(json.loads(json.dumps(kept, sort_keys=True)))


def read_demonstrations(objective: Objective) -> list[Demonstration]:
    """The rows of the demonstrations; none where the objective names no file.

    Raises: ObjectiveError, naming file and line.
    """
    try:
        return _demonstrations(objective)
    except ObjectiveError as error:
        raise ObjectiveError(f"{objective.path.name}: demonstrations: {error}") from error


def _demonstrations(objective: Objective) -> list[Demonstration]:
    name = objective.demonstrations
    return [] if name is None else read_rows(objective.folder / name, Demonstration)


def read_objective(path: Path) -> Objective:
    """Read and check an OBJECTIVE.md and the files of rows that it names.

    Raises: ObjectiveError with one line a mistake: "OBJECTIVE.md: <key>: <value> <what is wrong>; <mend>".
    """
    try:
        return _read(path.absolute())
    except ObjectiveError as error:
        lines = [f"{path.name}: {' '.join(line.split())}" for line in str(error).split("\n")[:MOST_LINES]]
        raise ObjectiveError("\n".join(lines).encode("utf-8", "backslashreplace").decode()) from error


def _read(path: Path) -> Objective:
    front, prose = _split(_read_text(path))
    root, values = _load(front)
    mistakes = [] if prose else ["text: is missing; say below the front matter what the student shall learn"]
    try:
        keys = FrontMatter.model_validate(values, context={"folder": path.parent})
    except ValidationError as error:
        found = error.errors()
        # A list whose only member is wrong counts as empty too: that mistake is no person's.
        inner = [wrong["loc"][:-1] for wrong in found]
        found = [
            w for w in found if w["type"] != "too_short" or not any(loc[: len(w["loc"])] == w["loc"] for loc in inner)
        ]
        lines = [_line(wrong, root, front) for wrong in found]
        raise ObjectiveError("\n".join(lines + mistakes)) from error
    objective = Objective.model_construct(**dict(keys), text=prose, path=path)
    if mistakes := mistakes + _mistakes_in_rows(objective):
        raise ObjectiveError("\n".join(mistakes))
    return objective


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise ObjectiveError("is a folder; name the OBJECTIVE.md in it")
        if not path.is_file():
            raise ObjectiveError(f"is not in {path.parent}; name it, or make one with: loop new DIR")
        if path.stat().st_size > MOST_BYTES:
            raise ObjectiveError("is larger than 200 kB; name an objective, a page of text")
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ObjectiveError("is not UTF-8 text; save the file as UTF-8") from error
    except (OSError, ValueError) as error:
        raise ObjectiveError("cannot be read; check its name and who may read it") from error
    if not text.strip():
        raise ObjectiveError("is empty; write an objective, or make one with: loop new DIR")
    return text


def _split(text: str) -> tuple[str, str]:
    """The front matter, on the lines where it stands in the file, and the prose below it."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if line.rstrip() == "---"]
    if not fences or any(line.strip() for line in lines[: fences[0]]):
        raise ObjectiveError("has no front matter; begin it with a line ---, the keys, and another line ---")
    if len(fences) == 1:
        raise ObjectiveError("front matter is never closed; write a line --- below its last key")
    start, end = fences[:2]
    return "\n" * (start + 1) + "\n".join(lines[start + 1 : end]), "\n".join(lines[end + 1 :]).strip()


def _load(front: str) -> tuple[yaml.Node | None, dict[str, Any]]:
    """The front matter as nodes and as plain values. Aliases, tags and deep nesting are refused unread."""
    depth = 0
    try:
        for event in yaml.parse(front, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if getattr(event, "anchor", None) or getattr(event, "tag", None) or depth > MOST_DEPTH:
                words = "has an alias (& or *), a tag (!) or too many brackets; write it out, or in quotes"
                raise ObjectiveError(f"line {event.start_mark.line + 1 if event.start_mark else 1}: {words}")
        loader = yaml.SafeLoader(front)
        root = loader.get_single_node()
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark else "front matter"
        words = getattr(error, "problem", None) or "a stray character"
        raise ObjectiveError(f"{place}: is not YAML ({words}); check its indentation, brackets and quotes") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ObjectiveError("front matter: is not made of keys; write lines such as seed: 0")
    return root, _plain(root, loader, "") if root else {}


def _plain(node: yaml.Node, loader: yaml.SafeLoader, at: str) -> Any:
    """A node's plain value. PyYAML would let the last of two equal keys win; here that is refused."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, loader, f"{at}{number}.") for number, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key, child in node.value:
            line = f"line {key.start_mark.line + 1}"
            if key.tag != "tag:yaml.org,2002:str":
                raise ObjectiveError(f"{line}: a key is not a word; write it as text, in quotes if need be")
            if key.value in values:
                raise ObjectiveError(f"{at}{key.value}: is written twice, again on {line}; keep one")
            values[key.value] = _plain(child, loader, f"{at}{key.value}.")
        return values
    try:
        value = loader.construct_object(node)
        str(value).encode()
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        raise ObjectiveError(f"{at.rstrip('.')}: is no value that YAML knows; put it in quotes") from error
    return value


EXAMPLES = {
    "student": "student: scratch/tiny",
    "tasks": "tasks: with practice, dev and test",
    "practice": "practice: and a list of sources",
    "dev": "dev: {from: practice, size: 300}",
    "test": "test: {from: practice, size: 500}",
    "budget": "budget: {rounds: 6, minutes: 20}",
    "source": "source: reasoning_gym/chain_sum, or a file",
}
WORDS = {
    "bool_type": "is neither true nor false; write one of them",
    "int_type": "is not a whole number; write one such as 300",
    "int_from_float": "is not a whole number; write one such as 300",
    "float_type": "is not a number; write one such as 0.5",
    "finite_number": "is not a finite number; write one such as 0.5",
    "string_type": "is not text; write a name, in quotes if it looks like a number",
    "dict_type": "is not made of keys; write {key: value}",
    "model_type": "is not made of keys; write {key: value}",
    "tuple_type": "is not a list; write - before each of its members",
    "too_short": "is empty; write at least one",
    "string_too_short": "is empty; write a value",
    "literal_error": "is not one of the values known here; write %(expected)s",
    "greater_than": "is too small; write a number above %(gt)g",
    "greater_than_equal": "is too small; write %(ge)g or more",
    "less_than": "is too large; write a number below %(lt)g",
    "less_than_equal": "is too large; write %(le)g or less",
}


def _line(wrong: ErrorDetails, root: yaml.Node | None, front: str) -> str:
    """A mistake that pydantic found, in our words: the key, the value as written, what is wrong, the mend."""
    context, kind = wrong.get("ctx", {}), wrong["type"]
    steps = [*wrong["loc"], *context.get("key", ())]
    if kind == "extra_forbidden":
        words = f"stands under an unknown key; {_known_keys(steps)}"
    elif kind == "missing":
        words = f"is missing; write {EXAMPLES.get(str(steps[-1]), f'{steps[-1]}: and a value')}"
    else:
        words = context.get("words") or WORDS.get(kind, "is wrong; mend it") % context
    dotted, node = [], root
    for step in steps:
        child = _child(node, step)
        if child is not None or (step is steps[-1] and words.startswith("is missing")):
            dotted.append(str(step))
            node = child
    written = front[node.start_mark.index : node.end_mark.index].strip() if node and dotted else ""
    if node and not written and kind.endswith("_type"):
        words = "is empty; write a value, or take the key out"
    first, more, _ = written.partition("\n")
    return f"{'.'.join(dotted)}: {first[:60]}{' ...' if more or len(first) > 60 else ''} {words}"


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    """The node below another. None for a step that stands in the models and not in the file."""
    if isinstance(node, yaml.MappingNode):
        return next((child for key, child in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    return None


def _known_keys(steps: list[str | int]) -> str:
    """What may be meant by an unknown key, the last of the steps."""
    model: type[BaseModel] = FrontMatter
    for step in steps[:-1]:
        fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        model = _model_in(fields.get(str(step))) or model
    key = str(steps[-1])
    if key in FrontMatter.model_fields and model is not FrontMatter:
        return f"{key} belongs to the left margin"
    for name, field in FrontMatter.model_fields.items():
        inner = _model_in(field.annotation)
        if inner and inner is not model and key in inner.model_fields:
            return f"{key} belongs under {name}"
    known = [field.alias or name for name, field in model.model_fields.items()]
    return closest(key, [name for name in known if name != "sources"])


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation speaks of, bare or inside a tuple or an optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _mistakes_in_rows(objective: Objective) -> list[str]:
    """What is wrong in the files of rows, and exams that ask for more problems than there are."""
    tasks, mistakes = objective.tasks, []
    groups = {"practice": tasks.practice, "dev": tasks.dev.sources, "test": tasks.test.sources}
    files = {f"tasks.{name}.{i}": s for name, group in groups.items() for i, s in enumerate(group) if s.is_file}
    prompts: dict[str, set[str]] = {}
    try:
        taught = {row.prompt for row in _demonstrations(objective)}
    except ObjectiveError as error:
        mistakes.append(f"demonstrations: {error}")
    for key, source in files.items():
        try:
            prompts[key] = {row.prompt for row in read_problem_rows(source, objective.folder)}
        except ObjectiveError as error:
            mistakes.append(f"{key}.source: {error}")
            continue
        size = source.size if isinstance(source, ExamSource) else None
        if size and size > len(prompts[key]):
            mistakes.append(f"{key}.size: {size} is more than its {len(prompts[key])} distinct problems; lower it")
    if mistakes or not all(source.is_file for source in tasks.practice):
        return mistakes
    left = len({prompt for key in prompts if "practice" in key for prompt in prompts[key]} - taught) - 1
    for name, exam in (("dev", tasks.dev), ("test", tasks.test)):
        if exam.size and exam.size > left:
            words = "(distinct, none demonstrated, one kept to practise on); lower it"
            mistakes.append(f"tasks.{name}.size: {exam.size} is more than the {max(left, 0)} left {words}")
        left -= exam.size or 0
    return mistakes
