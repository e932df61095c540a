"""Plain asyncio over the openai client: one prompt a request, so many at a time. Runs in our own environment."""

import asyncio
import json
import sys
import time
from pathlib import Path

from openai import AsyncOpenAI

AT_A_TIME = 128


async def complete(job: dict) -> list[str]:
    client, turns = AsyncOpenAI(base_url=job["address"], api_key="none"), asyncio.Semaphore(AT_A_TIME)

    async def one(seed: int, prompt: str) -> str:
        async with turns:
            answer = await client.completions.create(
                model=job["model"],
                prompt=prompt + "\n",
                temperature=job["temperature"],
                max_tokens=job["max_tokens"],
                seed=seed,
            )
            return answer.choices[0].text

    return await asyncio.gather(*(one(seed, prompt) for seed, prompt in enumerate(job["prompts"])))


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    began = time.monotonic()
    texts = asyncio.run(complete(job))
    seconds = time.monotonic() - began
    Path(sys.argv[2]).write_text(json.dumps({"rows": len(texts), "seconds": seconds}))


if __name__ == "__main__":
    main()
