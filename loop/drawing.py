"""Drawing: run a sampling job on an engine and append its rows, in a child process or, scripted, in this one."""

from __future__ import annotations

import time
from pathlib import Path

from agents.engines import EngineError, open_engine
from loop.crew import Report
from loop.errors import MissingError
from loop.files import RowFile
from loop.jobs import DrawJob, Drawn
from loop.records import Sample


def draw(job: DrawJob, report: Report) -> Drawn:
    """Append a Sample for every owed request; stop after the batch that reaches a limit.

    Rows of an earlier launch may have reached it: then there is nothing to draw.

    Raises: MissingError when the engine or the model is not there.
    """
    began = time.monotonic()
    rows = RowFile(Path(job.rows))
    done, total, tokens = len(job.job.done), len(job.job.requests), 0
    stopped = job.limits.spent_by(tokens, began)
    try:
        engine = open_engine(job.engine)
        for batch in () if stopped else engine.complete(job.job):
            samples = [
                Sample(
                    id=row.key,
                    problem=job.problems[row.key],
                    response=row.text,
                    finish=row.finish,
                    prompt_tokens=row.prompt_tokens,
                    completion_tokens=row.completion_tokens,
                    strategy=job.strategy,
                    place=job.place,
                    hinted=job.hinted,
                    sampler=job.sampler,
                    template=job.template,
                )
                for row in batch
            ]
            rows.append(samples)
            done += len(samples)
            tokens += sum(s.prompt_tokens + s.completion_tokens for s in samples)
            report(done, total, f"{tokens / max(time.monotonic() - began, 1e-9):,.0f} tokens/s")
            if stopped := job.limits.spent_by(tokens, began):
                break
        stopped = stopped or engine.stopped
    except EngineError as error:
        raise MissingError(str(error)) from error
    finally:
        rows.close()
    return Drawn(engine.engine_seconds, engine.parameters, stopped if done < total else "")
