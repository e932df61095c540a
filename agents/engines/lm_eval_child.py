"""The child of `run_lm_eval`, called with a job and a place for its result; it runs in lm-eval's own environment.

Nothing but lm-eval and the standard library: that environment has neither ours nor torch.
"""

from __future__ import annotations

import difflib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import requests
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager


class Asked(LocalCompletionsAPI):  # type: ignore[misc]
    """local-completions: what is to be answered goes as text, what is weighed as the token ids that were counted.

    One setting decides both there; and a text that is weighed may be cut into other tokens than were counted.
    """

    def generate_until(self, *args: Any, **more: Any) -> list[str]:
        """Answers."""
        self.tokenized_requests = False
        return list(super().generate_until(*args, **more))

    def _loglikelihood_tokens(self, *args: Any, **more: Any) -> list[tuple[float, bool]]:
        self.tokenized_requests = True
        return list(super()._loglikelihood_tokens(*args, **more))


class Wrong(Exception):
    """What ends it, for a person: at the task, or at the server."""

    def __init__(self, at: str, words: str) -> None:
        super().__init__(words)
        self.at = at


def main() -> None:
    """Play the job of the first file; write what came of it, or what is wrong, to the second."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        told = play(job)
    except Wrong as wrong:
        told = {"at": wrong.at, "wrong": str(wrong)}
    Path(sys.argv[2]).write_text(json.dumps(told, default=str), encoding="utf-8")


def play(job: dict[str, Any]) -> dict[str, Any]:
    """The scores, and a row for each answer.

    Raises: Wrong.
    """
    manager = TaskManager(include_path=job["include"], include_defaults=job["defaults"])
    for name in job["tasks"]:
        if name not in manager.all_tasks:
            close = difflib.get_close_matches(name, manager.all_tasks)
            near = f"; did you mean {' or '.join(close)}?" if close else "; name one, or its folder with --include"
            raise Wrong("name", f"{name}: lm-eval {version('lm_eval')} has no such task{near}")
    try:
        results = simple_evaluate(
            model=_model(job),
            tasks=[_with_files(name, job["data_files"]) for name in job["tasks"]],
            task_manager=manager,
            num_fewshot=job["shots"],
            limit=job["limit"],
            bootstrap_iters=1000,
        )
    except requests.HTTPError as error:
        said = error.response.text if error.response is not None else str(error)
        raise Wrong("server", _message(said)) from error
    except requests.RequestException as error:
        raise Wrong("server", str(error)) from error
    except (OSError, ValueError, LookupError, ImportError) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise Wrong("task", f"{', '.join(job['tasks'])}: {words[:300]}") from error
    return {"version": version("lm_eval"), "measures": list(_measures(results)), "rows": list(_rows(results))}


def _model(job: dict[str, Any]) -> LocalCompletionsAPI:
    """One request at a time, with many prompts: the student's server answers them as one batch."""
    return Asked(
        model=job["model"],
        base_url=f"{job['address']}/completions",
        tokenizer_backend="remote" if job["tokenizer"] else None,
        max_length=job["positions"],
        batch_size=job["batch"],
        num_concurrent=1,
        max_retries=1,
        timeout=24 * 3600,
    )


def _with_files(name: str, files: dict[str, str]) -> str | dict[str, Any]:
    """The task as it is, or reading local files in place of its data set."""
    if not files:
        return name
    local = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    return {"group": f"{name}, local", "task": [{"task": name, **local}]}


def _measures(results: dict[str, Any]) -> Any:
    for task, found in results["results"].items():
        for key, value in found.items():
            metric, _, name = key.partition(",")
            if name and not metric.endswith("_stderr") and isinstance(value, int | float):
                stderr = found.get(f"{metric}_stderr,{name}")
                count = results["n-samples"].get(task, {}).get("effective", 0)
                known = float(stderr) if isinstance(stderr, int | float) else None
                yield {"task": task, "metric": metric, "filter": name, "score": value, "error": known, "n": count}


def _rows(results: dict[str, Any]) -> Any:
    for task, samples in results["samples"].items():
        for row in samples:
            yield {
                "task": task,
                "filter": row["filter"],
                "problem": row["doc"].get("id", row["doc_id"]),
                "target": row["target"],
                "answers": row["resps"],
                "found": row["filtered_resps"],
                "scores": {metric: row[metric] for metric in row["metrics"]},
            }


def _message(said: str) -> str:
    """The words of an error as the OpenAI API wraps them."""
    try:
        return str(json.loads(said)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return said[:300]


if __name__ == "__main__":
    main()
