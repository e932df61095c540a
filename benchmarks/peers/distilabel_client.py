"""distilabel: a pipeline of TextGeneration over its OpenAILLM. Its start-up, measured on a few rows, is taken off."""

import json
import sys
import time
from pathlib import Path

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

FEW = 4


def run(job: dict, prompts: list[str]) -> tuple[int, float]:
    began = time.monotonic()
    with Pipeline(name=f"pipeline-{len(prompts)}") as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": prompt} for prompt in prompts], batch_size=job["batch"])
        llm = OpenAILLM(
            model=job["model"],
            base_url=job["address"],
            api_key="none",
            generation_kwargs={"max_new_tokens": job["max_tokens"], "temperature": job["temperature"]},
        )
        generate = TextGeneration(llm=llm, input_batch_size=job["batch"])
        load >> generate
    rows = pipeline.run(use_cache=False)["default"]["train"]
    return sum(text is not None for text in rows["generation"]), time.monotonic() - began


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    job["batch"] = 128
    _, start_up = run(job, job["prompts"][:FEW])
    rows, seconds = run(job, job["prompts"])
    told = {"rows": rows, "seconds": seconds - start_up, "start_up": start_up}
    Path(sys.argv[2]).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
