"""Check: everything that can be known before a run, in lines for a person. Nothing here imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from agents.purse import FREE
from agents.strategies import TEMPERATURE
from loop.check_cast import cast_lines
from loop.contamination import Exams, exams_of
from loop.documents import find_documents
from loop.dollars import dollars_a_round
from loop.errors import DamagedRunError, ObjectiveError
from loop.extracts import Extracts
from loop.figures import as_ending, in_tokens
from loop.judging import Judge
from loop.ledger import Ledger
from loop.needs import ROUNDS, Cost, estimate, require
from loop.objective import Demonstration, Objective, read_demonstrations, read_objective
from loop.presets import Student
from loop.run import describe_student, run_folder
from loop.tasks import Tasks
from loop.verifier_gold import gauge_verifier, gold_lines
from loop.verifiers import extract_answer

MOST_CELLS = 20
"""Cells that get a line of their own."""


def check_objective(path: Path) -> list[str]:
    """All that can be said before a run of this objective, a line each. Endpoints are asked for their models.

    Raises: ObjectiveError when it is wrong, MissingError when something it needs is not on this machine.
    """
    objective = read_objective(path)
    folder = run_folder(objective, None)
    needs = require(objective, folder)
    demonstrations = read_demonstrations(objective)
    tasks = Tasks(objective, [row.prompt for row in demonstrations])
    exams = exams_of([*tasks.dev, *tasks.test])
    student = describe_student(objective, demonstrations)
    return [
        *needs,
        *_demonstration_lines(objective, demonstrations, tasks, exams),
        *_task_lines(tasks),
        *gold_lines(gauge_verifier(objective, tasks, Judge(tasks, demonstrations), demonstrations)),
        *_document_lines(objective, exams),
        *_length_notes(student, demonstrations, tasks),
        *cast_lines(objective),
        f"run: {folder}, {_standing(folder)}",
        *_budget_lines(objective, estimate(objective, demonstrations)),
        *_dollar_lines(objective, demonstrations, student),
    ]


def _demonstration_lines(
    objective: Objective, demonstrations: Sequence[Demonstration], tasks: Tasks, exams: Exams
) -> list[str]:
    """Raises: ObjectiveError when a scratch student is built from rows of which none holds an answer."""
    if not demonstrations:
        return ["demonstrations: none: the student starts as it is, and nothing anchors its form"]
    places = sorted({source.answer for source in tasks.sources})
    answered = sum(any(extract_answer(d.response, place) is not None for place in places) for d in demonstrations)
    if not answered and objective.student.startswith("scratch/"):
        raise ObjectiveError(
            f"{objective.path.name}: demonstrations: {objective.demonstrations} has no answer after"
            f" {' or '.join(places)}; end each response with one, or set answer: of the source"
        )
    working = "cannot be checked: a right answer is all that a sample needs"
    if Judge(tasks, demonstrations).checks_working:
        working = "is checked, and a sample's must hold too"
    lines = [f"demonstrations: {len(demonstrations)} rows, {answered} with an answer; their working {working}"]
    held = [match for row in demonstrations if (match := exams.match(row.prompt, row.response))]
    if held:
        lines.append(f"note: {len(held)} demonstrations share text with dev or test, such as {held[0][:80]!r}")
    return lines


def _task_lines(tasks: Tasks) -> list[str]:
    dev, test = (Counter(problem.cell for problem in exam) for exam in (tasks.dev, tasks.test))
    cells = sorted({*tasks.practice, *dev, *test}, key=lambda cell: cell.order)
    sizes = f"{len(tasks.dev)} problems in dev, {len(tasks.test)} in test"
    lines = [f"tasks: {len(tasks.practice)} cells to practise on, {sizes}"]
    for cell in cells[:MOST_CELLS]:
        vein = tasks.practice.get(cell)
        left = 0 if vein is None else vein.left(())
        practice = "endless" if left is None else f"{left} problems" if left else "nothing left"
        lines.append(f"  {cell.title}: practice {practice}, dev {dev[cell]}, test {test[cell]}")
    if len(cells) > MOST_CELLS:
        lines.append(f"  and {len(cells) - MOST_CELLS} more")
    return [*lines, *_suite_lines(tasks), *(f"note: {note}" for note in tasks.notes)]


def _suite_lines(tasks: Tasks) -> list[str]:
    """The suites of each exam that has several, and how often its problems are answered."""
    lines = []
    for name, exam in (("dev", tasks.dev), ("test", tasks.test)):
        sizes = Counter(problem.source for problem in exam if problem.source in tasks.suites)
        weights = {index: tasks.suites[index].weight for index in sorted(sizes)}
        whole = sum(weight or 0.0 for weight in weights.values())
        shares = {i: "" if w is None else f" (weight {w / whole:.2f})" for i, w in weights.items()}
        if len(sizes) > 1:
            suites = ", ".join(f"{tasks.suites[i].name} {sizes[i]}{share}" for i, share in shares.items())
            lines.append(f"{name}: {suites}; {'scored by weight' if whole else 'scored as one pool'}")
        if samples := tasks.samples[name]:
            lines.append(
                f"{name}: each problem is answered {samples} times at temperature {TEMPERATURE:g} beside the greedy"
                f" answer: {samples * len(exam):,} answers more a sitting"
            )
    return lines


def _document_lines(objective: Objective, exams: Exams) -> list[str]:
    if objective.documents is None:
        return []
    found = find_documents(objective)
    extracts = Extracts(found.documents, exams)
    left_aside = [f"{n} {words}" for n, words in ((found.empty, "empty"), (found.again, "there twice")) if n]
    lines = [
        f"documents: {len(objective.document_files())} files, {len(found.documents)} documents"
        f"{''.join(f', {words}' for words in left_aside)}; {len(extracts.all)} extracts ground what is sampled"
    ]
    if extracts.left_out:
        words = f"{extracts.left_out} extracts hold a problem of dev or test, such as {extracts.match[:80]!r}"
        lines.append(f"note: {words}: left out")
    return lines


def _length_notes(student: Student, demonstrations: Sequence[Demonstration], tasks: Tasks) -> list[str]:
    """What a scratch student may be too short for; a byte is at most a token."""
    if student.architecture is None:
        return []
    notes = []
    most, positions = student.settings.max_length, student.architecture.positions
    cut = sum(_bytes(row.prompt, row.response) + 2 > most for row in demonstrations)
    if cut:
        notes.append(f"note: {cut} demonstrations are longer than {most} bytes: their ends may never be learnt")
    longest = max(_bytes(problem.prompt) for problem in (*tasks.dev, *tasks.test)) + student.max_new_tokens
    if longest > positions:
        notes.append(f"note: problem and answer may take {longest} tokens; {student.name} reads {positions}")
    return notes


def _standing(folder: Path) -> str:
    """What `loop run` would do there."""
    if not (folder / "run.db").exists():
        return "which starts"
    try:
        ledger = Ledger.read(folder / "run.db")
        rounds, status, ended = len(ledger.rounds()), ledger.fact("status"), ledger.fact("ended")
        ledger.close()
    except DamagedRunError as error:
        return f"which is refused: {error}"
    if status == "finished":
        return f"which is finished ({as_ending(ended)}); a raised budget prolongs it"
    return f"which goes on in round {rounds}"


def _budget_lines(objective: Objective, cost: Cost) -> list[str]:
    budget = objective.budget
    limits = [
        f"{n:g} {name}" for name, n in (("rounds", budget.rounds), ("minutes", budget.minutes)) if n is not None
    ]
    limits += [f"{in_tokens(budget.tokens)} tokens"] if budget.tokens is not None else []
    goal = "" if objective.goal is None else f", or at {objective.goal:g} of dev"
    lines = [f"budget: {', '.join(limits)}, whichever ends first{goal}"]
    whole = "" if budget.rounds is None else f"; {in_tokens(cost.exams + budget.rounds * cost.a_round)} in all"
    is_local = not any(player.address or player.tariff != FREE for player in objective.cast.everyone)
    lines.append(
        f"cost: up to about {in_tokens(cost.a_round)} tokens a round, the control's share included, and"
        f" {in_tokens(cost.exams)} for the exams of round 0 and the end{whole}"
        f"{'; no dollars: all runs on this machine' if is_local else ''}"
    )
    if budget.tokens is not None and budget.tokens < cost.exams:
        lines.append(
            f"note: {in_tokens(budget.tokens)} tokens are fewer than these exams take: no round would be played"
        )
    return lines


def _dollar_lines(objective: Objective, demonstrations: Sequence[Demonstration], student: Student) -> list[str]:
    lines, budget = [], objective.budget
    if by_part := dollars_a_round(objective, demonstrations, student):
        a_round = sum(by_part.values())
        parts = ", ".join(f"{part} ${cost:.2f}" for part, cost in by_part.items())
        cap = "there is no cap, which budget.usd sets" if budget.usd is None else f"the cap is ${budget.usd:.2f}"
        lines = [
            f"dollars: at most about ${a_round:.2f} a round ({parts}), were every answer as long as it may be;"
            f" ${a_round * (budget.rounds or ROUNDS):.2f} in {budget.rounds or ROUNDS} rounds; {cap}"
        ]
    for part, _, player in objective.cast.models():
        if player.is_public and player.prices is None:
            lines.append(
                f"note: cast.{part}: {player.model} has no prices: its tokens are counted, its dollars are not"
            )
    return lines


def _bytes(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)
