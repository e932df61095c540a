"""Front matter: the YAML at the head of a file, read strictly; every mistake in it as one line for a person."""

import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from loop.errors import ObjectiveError
from loop.sources import closest

MOST_BYTES = 200_000
MOST_DEPTH = 20
KEEPS_A_SECRET = re.compile(r"(?:^|_)(?:key|token|secret|password|auth\w*)(?:_|$)", re.IGNORECASE)
"""Keys whose values are never repeated."""
SECRET = re.compile(
    r"(?<=://)[^/\s@]+(?=@)"
    r"|\b(?:sk|pk|gsk|hf|ghp|xai|nvapi)[-_][\w-]{6,}"
    r"|((?:key|key_env|token|secret|password)[\"']?\s*[:=]\s*)[^\s,}&]+",
    re.IGNORECASE,
)
"""What looks like a secret inside a value that is shown."""


def read_text(path: Path) -> str:
    """The text of an objective, its line ends as "\\n".

    Raises: ObjectiveError.
    """
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


def split_text(text: str) -> tuple[str, str]:
    """The front matter, on the lines where it stands in the file, and the prose below it.

    Raises: ObjectiveError.
    """
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if line.rstrip() == "---"]
    if not fences or any(line.strip() for line in lines[: fences[0]]):
        raise ObjectiveError("has no front matter; begin it with a line ---, the keys, and another line ---")
    if len(fences) == 1:
        raise ObjectiveError("front matter is never closed; write a line --- below its last key")
    start, end = fences[:2]
    return "\n" * (start + 1) + "\n".join(lines[start + 1 : end]), "\n".join(lines[end + 1 :]).strip()


def load(front: str) -> tuple[yaml.Node | None, dict[str, Any]]:
    """The front matter as nodes and as plain values. Aliases, tags and deep nesting are refused unread.

    Raises: ObjectiveError.
    """
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


def explain(error: ValidationError, root: yaml.Node | None, front: str, top: type[BaseModel]) -> list[str]:
    """What pydantic found wrong in a front matter of the model `top`, a line a mistake. No line repeats a secret."""
    found = error.errors()
    # A list whose only member is wrong counts as empty too: that mistake is no person's.
    inner = [wrong["loc"][:-1] for wrong in found]
    found = [
        w for w in found if w["type"] != "too_short" or not any(loc[: len(w["loc"])] == w["loc"] for loc in inner)
    ]
    return [_line(wrong, root, front, top) for wrong in found]


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


def _line(wrong: ErrorDetails, root: yaml.Node | None, front: str, top: type[BaseModel]) -> str:
    """A mistake that pydantic found, in our words: the key, the value as written, what is wrong, the mend."""
    context, kind = wrong.get("ctx", {}), wrong["type"]
    steps = [*wrong["loc"], *context.get("key", ())]
    if kind == "extra_forbidden":
        words = f"stands under an unknown key; {_known_keys(steps, top)}"
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
    written = (
        "" if dotted and KEEPS_A_SECRET.search(dotted[-1]) else SECRET.sub(lambda m: f"{m[1] or ''}...", written)
    )
    first, more, _ = written.partition("\n")
    return f"{'.'.join(dotted)}: {first[:60]}{' ...' if more or len(first) > 60 else ''} {words}"


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    """The node below another. None for a step that stands in the models and not in the file."""
    if isinstance(node, yaml.MappingNode):
        return next((child for key, child in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    return None


def _known_keys(steps: list[str | int], top: type[BaseModel]) -> str:
    """What may be meant by an unknown key, the last of the steps."""
    model = top
    for step in steps[:-1]:
        fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        model = _model_in(fields.get(str(step))) or model
    key = str(steps[-1])
    if key in top.model_fields and model is not top:
        return f"{key} belongs to the left margin"
    for name, field in top.model_fields.items():
        inner = _model_in(field.annotation)
        if inner and inner is not model and key in inner.model_fields:
            return f"{key} belongs under {name}"
    known = [field.alias or name for name, field in model.model_fields.items()]
    return closest(key, known)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation speaks of, bare or inside a tuple or an optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
