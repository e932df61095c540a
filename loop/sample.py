"""Sample: samplers write candidates for practice problems, many and cheap, each strategy in its own way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from agents.replies import Plan
from agents.strategies import Allotment, Arbitration, ComputeMatched, Practice, Practising, RejectionSampling
from loop.arbitration import RewardRouter, Router, fixed_router, learned_router
from loop.bench import Bench
from loop.compute_match import sample_costs, samples_each
from loop.earlier import Earlier
from loop.pieces import answers_to, texts_of
from loop.prompting import examples_for, prompt_for
from loop.rationalise import rationalise_prompt
from loop.records import Cell, Checkpoint, Problem, Sample, digest
from loop.room import SAMPLES, Room
from loop.seats import Draw, Seat
from loop.written import Piece


def draw_samples(
    plan: Plan, pieces: Sequence[Piece], best: Checkpoint, earlier: Earlier, room: Room, bench: Bench
) -> list[Sample]:
    """What the plan's strategies draw for as many fresh problems as they allot to each cell, or for those written.

    Problems never drawn come first; in a cell that runs out, those never solved come again. Where a strategy says
    so, what none of its samples solved is drawn again with the answer as a hint. Written texts are samples already.
    """
    draws: list[Draw] = []
    taken: set[str] = set()
    for place, strategy in enumerate(plan.strategies):
        if isinstance(strategy, Practice):
            draws += _draws(place, strategy, best, earlier, taken, room, bench)
        else:
            draws.append(answers_to(place, strategy, pieces, earlier, bench.sampler("", best), room, bench))
        taken |= {problem.id for draw in draws for problem in draw.problems.values()}
    given = texts_of(pieces, bench)
    samples = bench.draw(room, SAMPLES, draws, limited=True, given=given)
    again = [
        _rationalise(place, strategy, [s for s in samples if s.place == place], best, room, bench)
        for place, strategy in enumerate(plan.strategies)
        if isinstance(strategy, RejectionSampling) and strategy.rationalise
    ]
    return bench.draw(room, SAMPLES, [*draws, *again], limited=True, given=given) if again else samples


def _draws(
    place: int,
    strategy: Practising,
    best: Checkpoint,
    earlier: Earlier,
    taken: Collection[str],
    room: Room,
    bench: Bench,
) -> list[Draw]:
    """One draw for each model that the strategy has answer, on problems that no strategy before it has taken."""
    seats = {name: bench.sampler(name, best) for name in strategy.players or ("",)}
    costs = sample_costs(seats, bench.demonstrations) if isinstance(strategy, ComputeMatched) else {}
    router = _router(strategy, earlier, room, bench) if isinstance(strategy, Arbitration) else None
    asked: dict[str, list[tuple[Problem, int]]] = {name: [] for name in seats}
    for allotment in strategy.allotments:
        counts = samples_each(allotment.samples * max(costs.values()), costs) if costs else {}
        for problem in _problems(allotment, earlier, taken, room, bench):
            for name in router.route(problem) if router else seats:
                asked[name].append((problem, counts.get(name, allotment.samples)))
    return [_draw(place, strategy, seats[name], rows, room, bench) for name, rows in asked.items() if rows]


def _router(strategy: Arbitration, earlier: Earlier, room: Room, bench: Bench) -> Router:
    """Who is asked, by what the teachers' answers of earlier rounds were worth; the ledger tells who decides."""
    if strategy.routing == "reward":
        return RewardRouter(teachers=strategy.teachers)
    if strategy.routing == "fixed":
        return fixed_router(earlier.outcomes, strategy.teachers, bench.seed)
    learned = learned_router(earlier.outcomes, strategy.teachers, bench.seed)
    told = learned.note or f"teachers are chosen by what was learned from {learned.answers:,} scored answers"
    room.ledger.event_once("router", f"round {room.name}: {told}")
    return learned


def _draw(
    place: int, strategy: Practising, sampler: Seat, counts: Sequence[tuple[Problem, int]], room: Room, bench: Bench
) -> Draw:
    who = strategy.players[1:] and (sampler.name,)  # where one model draws, its rows go by the problem alone
    problems: dict[str, Problem] = {}
    prompts: dict[str, str] = {}
    template = ""
    for problem, count in counts:
        prompt = prompt_for(problem, sampler, strategy.instructions, bench)
        template = prompt.digest
        for number in range(count):
            key = digest("sample", room.name, place, *who, problem.id, number)
            problems[key], prompts[key] = problem, prompt.text
    return Draw(sampler, problems, prompts, template, strategy.temperature, strategy.kind, place)


def _rationalise(
    place: int, strategy: RejectionSampling, samples: Sequence[Sample], best: Checkpoint, room: Room, bench: Bench
) -> Draw:
    """Once more as many samples of each problem that none solved, told its answer (STaR, arXiv 2203.14465)."""
    solved = {sample.problem.id for sample in samples if bench.judge.critique(sample).passed}
    tries = Counter(sample.problem.id for sample in samples)
    unsolved = {s.problem.id: s.problem for s in samples if s.problem.id not in solved and s.problem.answer}
    problems: dict[str, Problem] = {}
    prompts: dict[str, str] = {}
    template = ""
    for problem in unsolved.values():
        prompt = rationalise_prompt(
            problem.prompt,
            problem.answer,
            place=bench.tasks.sources[problem.source].answer,
            examples=examples_for(problem, bench),
            instructions=strategy.instructions,
        )
        template = prompt.digest
        for number in range(tries[problem.id]):
            key = digest("hint", room.name, place, problem.id, number)
            problems[key], prompts[key] = problem, prompt.text
    sampler = bench.sampler(strategy.sampler, best)
    return Draw(sampler, problems, prompts, template, strategy.temperature, strategy.kind, place, hinted=True)


def _problems(
    allotment: Allotment, earlier: Earlier, taken: Collection[str], room: Room, bench: Bench
) -> list[Problem]:
    cell = Cell(allotment.skill, allotment.level)
    seed = bench.seed_for(room.name, "practice", *cell)
    found: list[Problem] = []
    for avoided in (earlier.seen, earlier.solved):
        if len(found) < allotment.problems:
            known = {*taken, *(problem.id for problem in found)}
            drawn = bench.tasks.draw(cell, allotment.problems + len(known), seed, avoided)
            found += [p for p in drawn if p.id not in known][: allotment.problems - len(found)]
    return found
