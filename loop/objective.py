"""OBJECTIVE.md: its front matter as strict frozen models, and the files of rows that it names."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from loop.cast import Cast, Player, Prices, check_model
from loop.documents import Documents, document_files, read_document_files
from loop.errors import ObjectiveError
from loop.front_matter import explain, load, read_text, split_text
from loop.guidance import read_harness
from loop.presets import preset_names
from loop.rubric import read_rubric
from loop.settings import Budget, Critic, Exam, ExamSource, Fraction, Strategies, Tasks, Training
from loop.sources import (
    Demonstration,
    File,
    ProblemRow,
    Settings,
    Source,
    Text,
    closest,
    mistake,
    read_problem_rows,
    read_rows,
)

__all__ = [
    "Budget",
    "Demonstration",
    "Exam",
    "ExamSource",
    "Objective",
    "Player",
    "Prices",
    "ProblemRow",
    "Source",
    "read_demonstrations",
    "read_objective",
    "read_problem_rows",
]

MOST_LINES = 10


class FrontMatter(Settings):
    """The keys of OBJECTIVE.md."""

    student: Text
    """scratch/<preset>, scripted/<name>, a model id, or a folder relative to OBJECTIVE.md."""
    demonstrations: File | None = None
    documents: Documents | None = None
    """Files, or folders of them, that ground what is generated."""
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

    @field_validator("unsafe_code")
    @classmethod
    def _is_built(cls, value: bool) -> bool:
        if value:
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
        if family not in ("scratch", "scripted"):
            check_model(name, info.context["folder"] if info.context else None, ", or scratch/<preset>")
        return name

    @model_validator(mode="after")
    def _can_be_built(self) -> "FrontMatter":
        if self.student.startswith("scratch/") and self.demonstrations is None:
            raise mistake("is missing, and builds a scratch student; name a file", "demonstrations")
        is_scripted = self.student.startswith("scripted/")
        for i, player in enumerate(self.cast.sampler):
            if player.model == "student" and player.engine and (player.engine == "scripted") != is_scripted:
                words = "transformers or vllm" if player.engine == "scripted" else "scripted"
                raise mistake(f"does not run {self.student}; write {words}", "cast", "sampler", i, "engine")
        self.cast.check_money(self.budget.usd)
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

    def model_name(self, name: str) -> str:
        """A model's name as engines take it: a folder's is made absolute, any other stays as it is."""
        folder = self.folder / name
        return str(folder.resolve()) if folder.is_dir() else name

    def document_files(self) -> tuple[str, ...]:
        """The files of `documents`, relative to OBJECTIVE.md, those of its folders too: sorted, each once."""
        return document_files(self.documents or (), self.folder)

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
    front, prose = split_text(read_text(path))
    root, values = load(front)
    mistakes = [] if prose else ["text: is missing; say below the front matter what the student shall learn"]
    try:
        keys = FrontMatter.model_validate(values, context={"folder": path.parent})
    except ValidationError as error:
        lines = explain(error, root, front, FrontMatter)
        raise ObjectiveError("\n".join(lines + mistakes)) from error
    objective = Objective.model_construct(**dict(keys), text=prose, path=path)
    mistakes += [*_mistakes_in_rows(objective), *_mistakes_in_texts(objective)]
    if mistakes:
        raise ObjectiveError("\n".join(mistakes))
    return objective


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


def _mistakes_in_texts(objective: Objective) -> list[str]:
    """What is wrong in the documents, in the rubric and in the harness."""
    mistakes = []
    try:
        read_document_files(objective.document_files(), objective.folder)
    except ObjectiveError as error:
        mistakes.append(f"documents: {error}")
    if name := objective.critic.rubric:
        try:
            read_rubric(objective.folder / name)
        except ObjectiveError as error:
            mistakes += [f"critic.rubric: {line}" for line in str(error).split("\n")]
    if name := objective.strategies.harness:
        try:
            read_harness(objective.folder / name)
        except ObjectiveError as error:
            mistakes.append(f"strategies.harness: {error}")
    return mistakes
