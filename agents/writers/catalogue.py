"""The catalogue of the strategies that write: what each is good for and what it costs, as an orchestrator is told."""

from __future__ import annotations

from collections.abc import Mapping

from agents.briefs import StrategyBrief

WRITING = (
    "count (rows tried for), temperature 0 to 2, max_tokens 64 to 16384, instructions, writer, "
    "keep_per_problem 1 to 64, most_rows, skip_solved (true: what all answers agree on at once is left out)"
)
PAIRED = f"{WRITING}, topics and audiences (lists; none takes those of the house)"
CLAIMED = "the answer that comes with each is the writer's claim, and only what the check on it lets through counts"


def _brief(name: str, good_for: str, costs: str, settings: str = WRITING) -> StrategyBrief:
    return StrategyBrief(name=name, good_for=good_for, costs=costs, settings=settings)


WRITERS: Mapping[str, StrategyBrief] = {
    brief.name: brief
    for brief in (
        _brief(
            "self_instruct",
            "more problems of the kind of the demonstrations, where practice problems run out; near-copies of what "
            f"was shown are refused; {CLAIMED}",
            "one call a row; the prompt holds the demonstrations shown",
            f"{WRITING}, shown (demonstrations, 1 to 8), most_overlap (0 to 1, 0.7)",
        ),
        _brief(
            "evol_instruct",
            "problems harder or other than the demonstrations, when these are solved nearly always; some become "
            f"unsolvable; {CLAIMED}",
            "two calls a row and step: the evolution, and whether it asks for anything new",
            f"{WRITING}, operators (constrain, deepen, concretise, reason, broaden), steps 1 to 4",
        ),
        _brief(
            "failure_variants",
            "failure modes whose own problems are few: variants of what the student got wrong, of seed problems "
            f"alone; best with little data; {CLAIMED}",
            "one call a row; needs wrong attempts of the student at practice problems",
        ),
        _brief(
            "back_translation",
            "well-written documents that answer some request: the document is the response, the request is written",
            "one call a row; needs documents",
        ),
        _brief(
            "magpie",
            "the spread of what users ask a chat model, with no seed at all; little control over what comes",
            "one short call a row, and a solver's answer to it; needs a chat model that continues a bare text",
        ),
        _brief(
            "textbook",
            "knowledge that the student lacks, explained from the ground up; no pair of topic and audience repeats",
            "one long call a row, about 600 tokens; a text without a prompt",
            PAIRED,
        ),
        _brief(
            "exercises",
            f"practice on topics, beside textbooks; no pair of topic and audience repeats; {CLAIMED}",
            "one call a row",
            PAIRED,
        ),
        _brief(
            "grounded",
            "texts as varied as the documents that they start from, in several styles; fewer repeats than textbooks",
            "one long call a row, about 600 tokens; needs documents; a text without a prompt",
            f"{WRITING}, styles (academic, narrative, blog, how_to), audiences",
        ),
        _brief(
            "personas",
            f"spread of situations and wordings for one kind of problem, which instructions name; {CLAIMED}",
            "one call a row, one more for a persona of a document, one more for related",
            f"{WRITING}, related (true finds another persona first)",
        ),
        _brief(
            "transform",
            f"hard problems out of documents, refined once; the most careful and the dearest here; {CLAIMED}",
            "four calls a row; needs documents",
            f"{WRITING}, forms (argument, dialogue, table, report, how_to, case)",
        ),
        _brief(
            "constraints",
            "following instructions to the letter: length, shape, words and format, each checked by a program",
            "two calls a row; what misses a constraint is dropped, with weak writers most of it",
            f"{PAIRED}, most (constraints of a request, 1 to 4)",
        ),
        _brief(
            "rewrite",
            "changing the tone of a text and not its content",
            "one call a row; needs documents",
            f"{WRITING}, styles (concise, friendly, formal, plain)",
        ),
        _brief(
            "summarise",
            "summaries of texts",
            "one call a row; needs documents",
            f"{WRITING}, sizes (sentence, paragraph, bullets)",
        ),
        _brief(
            "rephrase",
            "learning more from few documents, trained on one to one with the originals; a small writer is enough",
            "one call a row, as long as the document; needs documents; a text without a prompt",
            f"{WRITING}, styles (easy, encyclopaedic, terse, questions)",
        ),
        _brief(
            "nemotron",
            "documents of which the quality is known: low is rewritten, high is asked about, distilled, extracted "
            "and listed in turn",
            "one call a row; needs documents; texts without a prompt, but for the questions",
            f"{WRITING}, quality (low or high: where the plan has the documents scored, those of low buckets, also "
            "what is left out of other strategies, or of high ones; else all are taken)",
        ),
    )
}
"""By name."""
