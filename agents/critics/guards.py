"""Guards: known attacks on judges that a program can see, refused before any model is asked.

The worst of them need no wit: a lone ":" or "Thought process:" passes many judges, and neither reasoning nor votes
help against it ("One Token to Fool LLM-as-a-Judge", arXiv 2507.08794).
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 20_000
"""Characters. A prompt holds a response of this length whole: what a critic has not read it cannot vouch for."""
SHORT_FOR_LONG = 4_000
"""Characters that are never too many, however short ordinary responses are."""
TIMES_TYPICAL = 8
"""A response longer than so many ordinary ones is refused."""
SHARE_OF_TYPICAL = 20
"""A response without a digit that is shorter than an ordinary one by this factor has no room for content."""

LOOKALIKES = str.maketrans("аеорсухіѕјԁɡАВЕКМНОРСТУХІЅЈΑΒΕΗΙΚΜΝΟΡΤΥΧο", "aeopcyxisjdgABEKMHOPCTYXISJABEHIKMNOPTYXo")
"""Cyrillic and Greek letters that look Latin."""
HIDDEN = frozenset("\u202a\u202b\u202d\u202e\u2066\u2067\u2068") | {chr(code) for code in range(0xE0000, 0xE0080)}
"""Characters that turn the direction of text, and tags that nobody sees."""

OPENERS = frozenset(
    "a alright an and answer answers as by certainly course detailed do explanation final finally find following "
    "follows for given help here here's i i'd i'll in is it let let's look me my need of okay output please process "
    "problem proof question reasoning response result scratchpad see so solution solve solved solving step steps "
    "sure task the then therefore think thinking this thought thoughts to understand us verify we we'll will working "
    "解 解答 答案 答え 解説 かいせつ 思考过程 respuesta solución lösung antwort réponse решение ответ"
    .translate(LOOKALIKES).split()
)  # fmt: skip
"""Words with which responses begin and which say nothing: one made of them alone has no content."""
FEW_WORDS = 20

# Repeats are bounded throughout: no text makes these patterns slow.
_JUDGE = (
    r"(?:evaluator|grader|(?:evaluation|grading) (?:system|model|assistant)|judge|critic|examiner|assessor|rater)"
)
_START = r"(?:^|[.!?:;,] |\b(?:please|must|should|shall|kindly|you|now|so|and|then) )\W{0,9}"
_FULL = r"(?:full|maximum|max|maximal|perfect|highest|top|best possible) (?:possible )?"
_MARKS = r"(?:marks?|points?|scores?|credits?|grades?|ratings?|verdict)\b"
_RIGHT = r"(?:correct|right|perfect|pass(?:ed|ing)?|10/10|100/100|100%)(?!\w)"
_MET = r"(?:met|satisfied|fulfilled|true|passed)\b"
_WORK = r"(?:answer|response|solution|submission|output|work)"
_MINE = rf"(?:this|it|my \w+|(?:the|this) (?:\w+ )?{_WORK}|(?:all|every|each)(?: of)?(?: the)?(?: \w+)?)"

TALK = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        rf"\bas (?:an?|the|our) (?:[\w-]+ ){{0,3}}{_JUDGE},? (?:you|your|please)\b",
        rf"\byou are (?:now )?(?:an?|the|our) (?:[\w-]+ ){{0,3}}{_JUDGE}\b",
        rf"\b(?:dear|attention|notes?|message|instructions?|hint|reminder)(?:,|:| to| for)* (?:the |all |our )?"
        rf"(?:[\w-]+ )?{_JUDGE}s?\b",
        rf"\b{_JUDGE}s?, (?:please|you|give|mark|accept|ignore|this|the)\b",
        rf"{_START}(?:give|award|assign|grant|output|return|print|write|reply|respond|answer) (?:[\w']+ ){{0,5}}"
        rf"{_FULL}{_MARKS}",
        rf"\b(?:mark|grade|score|rate) {_MINE} (?:[\w']+ ){{0,3}}{_FULL}{_MARKS}",
        rf"\b(?:mark|grade|score|rate|judge|accept|consider|evaluate|treat|count|classify) {_MINE} "
        rf"(?:as |to be |is )?(?:fully |completely |entirely )?{_RIGHT}",
        rf"\b(?:this|my|the above) {_WORK} (?:deserves?|merits?|earns?|should (?:receive|get|be (?:accepted|marked|"
        rf"graded|scored|rated|judged)))\b",
        rf"\b(?:mark|set|output|return|answer|say) (?:[\w']+ ){{0,4}}criteri(?:a|on) (?:as |to |is |are )*{_MET}",
        rf"\b(?:all|every|each)(?: of)?(?: the| your)? criteri(?:a|on) (?:are|is|ha(?:ve|s) been) (?:\w+ )?{_MET}",
        r"\b(?:ignore|disregard|forget|override) (?:[\w']+ ){0,4}"
        r"(?:instructions?|rubrics?|criteria|guidelines|directions|prompts?|grading|commands?)\b",
        rf"^\W{{0,9}}(?:verdict|rating|grade|judge?ment|evaluation|assessment|final (?:score|grade)|marks?)"
        rf"\W{{0,9}}[:=]\W{{0,9}}{_RIGHT}",
    )
)
"""How responses talk to their judge, in lower-case text with single spaces."""

ROLES = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        r"<\|[^|<>\n]{1,40}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?s>",
        r"^\W{0,3}#{1,6} {0,9}(?:(?:new|system|updated) )?(?:instructions?|system(?: prompt| message)?|assistant"
        r"|human|user)\b {0,9}(?::.*)?$",
        r"^[ \t*_>]{0,9}(?:assistant|human|judge|grader|evaluator|critic)[*_]{0,3} ?:",
        r"</?(?:system|assistant|user|human|instructions?|judge|grader|critic|verdict|rubric|problem|response|reference"
        r"|candidate|evaluation)\b[^<>\n]{0,80}>",
    )
)
"""Tags and headings that open another turn of a conversation."""

VERDICTS = re.compile(
    r"[\"'](?:marks|met|criterion|better|verdict)[\"']\s*:"
    r"|[\"'](?:score|rating|grade|total|is_correct|correct|passed|accepted|decision|judge?ment)[\"']\s*:\s*[\"']?"
    r"(?:true|pass|passed|correct|accept|accepted|10|1\.0|100|5|first|second)\b",
    re.IGNORECASE,
)
"""JSON that imitates what a critic says."""

CLAIM = re.compile(
    rf"\W*(?:(?:yes|sure|so|indeed|clearly|therefore|thus)\W+)?(?:(?:the|this|my|that|above|given|final|proposed) )*"
    rf"(?:{_WORK}|this|that|it|everything|all steps|every step) (?:is|are|was) "
    rf"(?:all |fully |completely |entirely |absolutely |indeed |already |100% )*(?:{_RIGHT}|true\b|valid\b)\W*"
)
"""A whole response that does nothing but call itself right."""


def refusal(problem: str, response: str, typical: int = 0) -> str:
    """Why no critic is asked about a response, in one line; "" when one may be.

    `typical` is the length in characters of an ordinary right response; 0 where it is not known.
    """
    most = min(LONGEST, max(SHORT_FOR_LONG, TIMES_TYPICAL * typical) if typical else LONGEST)
    if len(response) > most:
        return f"{len(response)} characters, more than the {most} that are judged"
    if not response.isascii() and any(c in HIDDEN or unicodedata.category(c) in ("Cs", "Co") for c in response):
        return "hidden characters"
    text = _plain(response)
    if any(pattern.search(text) for pattern in ROLES):
        return "opens another turn of a conversation"
    if VERDICTS.search(text):
        return "imitates a verdict"
    lines = re.sub(r"[*_`\"“”]+", "", text.casefold().replace("’", "'"))
    lines = re.sub(r"[^\S\n]+", " ", lines)
    flat = " ".join(lines.split())
    if any(pattern.search(lines) or pattern.search(flat) for pattern in TALK):
        return "talks to the judge"
    return _emptiness(problem, flat, typical)


def _emptiness(problem: str, flat: str, typical: int) -> str:
    words = re.findall(r"[\w']+", flat)
    if not words:
        return "nothing but punctuation" if flat else "empty"
    if CLAIM.fullmatch(flat):
        return "calls itself right and says nothing else"
    ends_in_option = len(words[-1]) == 1 and words[-1].isascii()
    if len(words) <= FEW_WORDS and not ends_in_option and OPENERS.issuperset(words):
        return "an opening without content"
    if len(words) > 3 and words == re.findall(r"[\w']+", _plain(problem).casefold().replace("’", "'")):
        return "repeats the problem"
    letters = sum(map(len, words))
    if letters * SHARE_OF_TYPICAL < typical and not any(char.isdigit() for char in flat):
        return f"{letters} letters, where {typical} characters are usual"
    return ""


def _plain(text: str) -> str:
    """The text in compatibility form (full-width letters and such), without invisible characters and lookalikes."""
    if text.isascii():
        return text
    text = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return text.translate(LOOKALIKES)
