"""Worked equations in a text: found, read and evaluated exactly.

Nothing here runs a text: a small recursive-descent reader knows numbers, + - * / and parentheses, and
computes with fractions. What it can't read for certain (a variable, a power, "3 dozen x 2 = 72 eggs") it
leaves alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import Literal, NamedTuple

TOLERANCE = Fraction(1, 1000)
"""How far the two sides of an equation may stand apart: |left - right| < 1e-3, as RFT has it
(arXiv 2308.01825; OFA-Sys/gsm8k-ScRel, collect_rejection_sampling.py). It is there for rounded results, so it
shrinks to one unit of the last written decimal: 1/3 = 0.333 holds, 3 + 4 = 7.0005 does not."""

FINEST_PLACE = 9
"""Decimals beyond this one are floating-point dust of a calculator (0.30000000000000004)."""

LONGEST_NUMBER = 200
DEEPEST = 40
WIDEST = 1000
"""Digits of a number, parentheses inside one another, bits of a value: beyond these a side is not read."""

SIGNS = str.maketrans(
    {
        **dict.fromkeys("−‒–﹣－", "-"),
        **dict.fromkeys("×✕✖⋅·∙∗", "*"),
        **dict.fromkeys("÷∕⁄", "/"),
        **dict.fromkeys("\u00a0\u2009\u202f", " "),
    }
)
REWRITES = tuple(
    (re.compile(pattern, re.MULTILINE), new)
    for pattern, new in (
        (r"\\(?:times|cdot|ast)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))"),
        (r"\\(?:text|mathrm|mbox)\{([^{}]*)\}", r" \1 "),
        (r"\\boxed\{([^{}]*)\}", r"\1"),
        (r"\\\\", "\n"),
        (r"\\(?:left|right|quad|qquad|[()\[\],;! ])|&", " "),
        (r"\\([$%])", r"\1"),
        (r"\{,\}", ","),
        (r"==+", "="),
        (r"[-=]+>", ";"),
        (r"(?<![\w)*])(\*{1,3})(?=[^\s*])(.{1,200}?)(?<=\S)\1(?![\w*])", r"\2"),
        (r"^[ \t]*(?:[-*•][ \t]+|\(?\d{1,2}[.)][ \t]+)", ""),
        (r"(?:\n[ \t]*){1,3}=", " ="),
        (r"=[ \t]*(?:\n[ \t]*){1,3}(?=[-$(]{0,2}\d)", "= "),
    )
)
"""One way of writing things: LaTeX as plain signs, bold and list marks gone, an equation on one line."""
LATEX = 8
"""So many of them, the first, change nothing where there is neither backslash nor &."""

TOKEN = re.compile(
    r"(?P<odd>[0-9]{1,2}(?::[0-9]{2})+(?![0-9])|[0-9]+(?:\.[0-9]+){2,}|[0-9][0-9.]*[eE][+-]?[0-9]+)"
    r"|(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*)|(?P<money>[$€£])|(?P<percent>%)|(?P<power>\*\*)|(?P<sign>[-+*/()=])"
    r"|(?P<line>\n)|(?P<mark>\S)"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARITHMETIC = _words("number money percent unit + - * / ( ) =")
"""Kinds of tokens that an equation is made of; "unit" is a word beside a number."""

UNSAFE_MARKS = frozenset("^_√²³|\\°")
"""Next to an equation these change what it says; other punctuation ends it."""

DIMENSIONS = (
    _words("sec second min minute hr hour day week month year decade century"),
    _words("$ cent penny nickel dime dollar"),
    _words("inch foot yard mile mm millimeter cm centimeter meter km kilometer"),
    _words("mg gram kg kilogram oz ounce lb pound ton"),
    _words("ml milliliter liter teaspoon tablespoon cup pint quart gallon"),
)
"""Units that turn into one another: two of a kind in one equation, and it may hide a conversion."""

SCALES = _words("k hundred thousand million billion trillion dozen half third quarter fourth fifth tenth")
"""Words that multiply the number before them."""

PLURALS = {"feet": "foot", "inches": "inch", "pennies": "penny", "centuries": "century", "halves": "half"}
PLURALS |= {"dollar": "$", "dollars": "$"}

MULTIPLIERS = _words(
    "half twice thrice double triple times plus minus by over percent step x mod divided multiplied choose "
    "squared cubed factorial sqrt log"
)
"""A word that, just before or after an equation, may be part of what it computes."""

CLAUSE = _words("and are as because but equals gives has have if is means or since so than that then was")
"""Words that are no part of a unit: what follows them is another thought."""

PER = _words("per a an each every in for on of at from to")
"""Words after which the unit of a result is over: 20 hours a week."""

PART_OF = _words("percent root product difference ratio average mean quotient fraction rest remainder")
"""What stands before "of" when the number after it is only an operand: half of 10 + 2."""


class Unreadable(Exception):
    """The text is not arithmetic that can be read for certain."""


class Token(NamedTuple):
    """A piece of text; `kind` is the name of its group in TOKEN, the sign itself, or "unit"."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written, with its decimals counted."""

    value: Fraction
    places: int = 0
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A sum (+1 adds, -1 subtracts) or a product (+1 multiplies, -1 divides) of its parts, left to right."""

    kind: Literal["sum", "product"]
    parts: tuple[tuple[int, Node], ...]


Node = Number | Group


@dataclass(frozen=True, slots=True)
class Side:
    """What stands on one side of an equals sign, read, with the units written beside its numbers."""

    text: str
    tree: Node
    units: tuple[str, ...]

    @property
    def computes(self) -> bool:
        """Whether there is an operation in it, beyond a sign."""
        return next(operations_in(self.tree), None) is not None


@dataclass(frozen=True, slots=True)
class Run:
    """An unbroken stretch of arithmetic: its sides in order, None for what cannot be read for certain."""

    sides: tuple[Side | None, ...]
    numbers: int
    """How many numbers were written in it, read or not."""

    @property
    def pairs(self) -> list[tuple[Side, Side]]:
        """The neighbouring sides that must be equal; none if nothing is computed anywhere in the run."""
        if not any(side.computes for side in self.sides if side):
            return []
        return [(left, right) for left, right in pairwise(self.sides) if left and right]


@lru_cache(maxsize=8)
def find_runs(text: str) -> tuple[Run, ...]:
    """Every stretch of arithmetic of a text, in order; GSM8K's <<3+4=7>> once inside and once around it."""
    return tuple(run for part in parts_of(text) for run in runs_of(part))


def parts_of(text: str) -> Iterator[str]:
    """What is read by itself: the lines, written one way, each after the insides of its marks."""
    for line in plain(text).split("\n"):
        if "<<" in line:
            yield from re.findall(r"<<([^<>]*)>>", line)
            yield re.sub(r"<<[^<>]*>>", "", line)
        else:
            yield line


def judge(left: Side, right: Side) -> str | None:
    """What the computing side is ("is 5") if the two are not equal; "" if they are; None if not certain."""
    numbers = [*numbers_in(left.tree), *numbers_in(right.tree)]
    if _hides_conversion([*left.units, *right.units], len(numbers)):
        return None
    percents = any(number.percent for number in numbers)
    try:
        for percent in (Fraction(1), Fraction(1, 100)) if percents else (Fraction(1),):
            gap = abs(evaluate(left.tree, percent) - evaluate(right.tree, percent))
            if gap == 0 or gap < min(_tolerance(left, percent), _tolerance(right, percent)):
                return ""
        if percents and any(_mixes_percent(side.tree) for side in (left, right)):
            return None
        return f"is {show(evaluate((right if right.computes and not left.computes else left).tree))}"
    except ZeroDivisionError:
        return "division by zero"
    except Unreadable:
        return None


def evaluate(node: Node, percent: Fraction = Fraction(1)) -> Fraction:
    """The exact value, a number with % taken `percent` times. Raises ZeroDivisionError and Unreadable."""
    if isinstance(node, Number):
        return node.value * percent if node.percent else node.value
    total = Fraction(0 if node.kind == "sum" else 1)
    for sign, part in node.parts:
        value = evaluate(part, percent)
        if node.kind == "sum":
            total += sign * value
        else:
            total = total * value if sign > 0 else total / value
        if max(total.numerator.bit_length(), total.denominator.bit_length()) > WIDEST:
            raise Unreadable
    return total


def numbers_in(node: Node) -> list[Number]:
    """The numbers of a tree, left to right."""
    if isinstance(node, Number):
        return [node]
    return [number for _, part in node.parts for number in numbers_in(part)]


def show(value: Fraction) -> str:
    """A value for people: 5, 2.5, 0.333333."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.6g}"


def _tolerance(side: Side, percent: Fraction) -> Fraction:
    """One unit of the last place of a side that is a bare number, and TOLERANCE at most."""
    if not isinstance(side.tree, Number):
        return TOLERANCE
    places = side.tree.places + (2 if side.tree.percent and percent != 1 else 0)
    return min(TOLERANCE, Fraction(1, 10 ** min(places, FINEST_PLACE)))


def _hides_conversion(units: list[str], numbers: int) -> bool:
    """Whether the units may stand for arithmetic that is not written: 2 hours + 30 minutes, 3 dozen x 2."""
    if any(len({unit for unit in units if unit in dimension}) > 1 for dimension in DIMENSIONS):
        return True
    scales = [unit for unit in units if unit in SCALES]
    return bool(scales) and (len(set(scales)) > 1 or len(scales) < numbers)


def _mixes_percent(node: Node) -> bool:
    """Whether a percentage is added to something that is none: $60 + 25% has two meanings."""
    if isinstance(node, Number):
        return False
    kinds = {all(number.percent for number in numbers_in(part)) for _, part in node.parts}
    return (node.kind == "sum" and len(kinds) > 1) or any(_mixes_percent(part) for _, part in node.parts)


def operations_in(node: Node) -> Iterator[Group]:
    """The sums and products of a tree that have at least two parts, the outermost first."""
    if isinstance(node, Group):
        if len(node.parts) > 1:
            yield node
        for _, part in node.parts:
            yield from operations_in(part)


def plain(text: str) -> str:
    """The text, written in one way."""
    text = text.translate(SIGNS)
    for pattern, new in REWRITES if "\\" in text or "&" in text else REWRITES[LATEX:]:
        text = pattern.sub(new, text)
    return text


@lru_cache(maxsize=2**12)
def runs_of(line: str) -> tuple[Run, ...]:
    """The stretches of arithmetic of one part of a text. Students write the same lines again and again."""
    tokens = _with_units([Token(_kind(match), match[0], *match.span()) for match in TOKEN.finditer(line)])
    begin, follows, runs = 0, False, []
    while begin < len(tokens):
        end = begin
        while (
            end < len(tokens) and tokens[end].kind in ARITHMETIC and not (end > begin and _starts_anew(tokens, end))
        ):
            end += 1
        if any(token.kind == "number" for token in tokens[begin:end]):
            runs.append(_read_run(line, tokens, begin, end, follows))
        is_comma = end == begin and tokens[begin].text == ","
        follows = (follows and is_comma) or any(token.kind == "=" for token in tokens[begin:end])
        begin = max(end, begin + 1)
    return tuple(runs)


def _starts_anew(tokens: list[Token], at: int) -> bool:
    """A number right after a number begins another equation, unless they are one mixed number: 2 1/2."""
    kinds = [token.kind for token in tokens[at - 1 : at + 2]]
    return kinds[0] in ("number", "percent") and kinds[1] == "number" and kinds[2:] != ["/"]


def _kind(match: re.Match[str]) -> str:
    return match[0] if match.lastgroup == "sign" else match.lastgroup or "mark"


def _with_units(tokens: list[Token]) -> list[Token]:
    """The tokens, with the words between a number and the next sign marked as its unit, and x as times."""
    tokens = list(tokens)
    at = 0
    while at < len(tokens):
        at += 1
        if tokens[at - 1].kind not in ("number", "percent", "money", ")"):
            continue
        end = at
        while end < len(tokens) and end < at + 4 and _is_unit(tokens, end):
            end += 1
        if end < len(tokens) and _is_times(tokens, end):
            tokens[end] = tokens[end]._replace(kind="*")
        elif end == len(tokens) or tokens[end].kind not in ("+", "-", "*", "/", "=", ")"):
            continue
        tokens[at:end] = [token._replace(kind="unit") for token in tokens[at:end]]
    return tokens


def _is_unit(tokens: list[Token], at: int) -> bool:
    """A word of a unit: apples, per, or the /egg of $2/egg. A lone letter may be a variable and is none."""
    token = tokens[at]
    if token.kind == "/":
        glued = at + 1 < len(tokens) and token.start == tokens[at - 1].end and token.end == tokens[at + 1].start
        return glued and tokens[at + 1].kind == "word" and len(tokens[at + 1].text) > 1
    before, word = tokens[at - 1], token.text.lower()
    if token.kind != "word" or word in MULTIPLIERS | CLAUSE or (word == "of" and before.kind != "word"):
        return False
    if token.start == before.end and before.kind == "number":  # 5kg, but not 3x nor 2Papillon
        return any(unit_of(word) in dimension for dimension in DIMENSIONS)
    return len(word) > 1 or word == "a"


def _is_times(tokens: list[Token], at: int) -> bool:
    """The x of 5 x 3, $5 x 3 and 12 cups x (2 + 1); not that of 5x + 3."""
    if tokens[at].kind != "word" or tokens[at].text not in ("x", "X") or at + 1 == len(tokens):
        return False
    glued_left = tokens[at].start == tokens[at - 1].end
    glued_right = tokens[at].end == tokens[at + 1].start
    return tokens[at + 1].kind in ("number", "money", "(") and glued_left == glued_right


def _read_run(line: str, tokens: list[Token], begin: int, end: int, follows: bool) -> Run:
    """The run of tokens[begin:end]; `follows`: what stands just before it is an equation."""
    run = tokens[begin:end]
    if run[-1].kind in ("-", "*") and not _touches(tokens, end - 1, end):
        run = run[:-1]
    pieces: list[list[Token]] = [[]]
    for token in run:
        if token.kind == "=":
            pieces.append([])
        else:
            pieces[-1].append(token)
    sides = [_read_side(line, piece, first=not index) for index, piece in enumerate(pieces)]
    if _is_label(sides[0]) or not _may_begin(tokens, begin, follows):
        sides[0] = None
    if not _may_end(tokens, end) and not (len(sides) > 1 and end < len(tokens) and _starts_anew(tokens, end)):
        sides[-1] = None
    elif sides[-1] is not None and len(sides) > 1:
        sides[-1] = _with_trailing_units(sides[-1], tokens[end : end + 3])
    return Run(tuple(sides), sum(token.kind == "number" for token in run))


def _is_label(side: Side | None) -> bool:
    """Whether a side names what is computed after it: 2 days = 7 + 2."""
    return side is not None and not side.computes and any(unit != "$" for unit in side.units)


def _touches(tokens: list[Token], left: int, right: int) -> bool:
    """Whether a token at `right` belongs to the sign at `left`: that of "8 - x", not that of "8 - so"."""
    if right >= len(tokens):
        return False
    token = tokens[right]
    return token.start == tokens[left].end or token.kind == "odd" or (token.kind == "word" and len(token.text) == 1)


def _may_begin(tokens: list[Token], begin: int, follows: bool) -> bool:
    """Whether a sum may begin here, going by what stands before it."""
    if begin == 0:
        return True
    before, first = tokens[begin - 1], tokens[begin]
    glued = before.end == first.start
    if before.kind in ARITHMETIC:
        return follows
    if before.kind == "mark":
        is_list = before.text == "," and glued and begin > 1 and tokens[begin - 2].kind == "number"
        return before.text not in UNSAFE_MARKS and (follows or not is_list)
    if before.kind != "word":
        return False
    if first.kind in "+-*/" and not (first.kind == "-" and tokens[begin + 1].start == first.end and not glued):
        return False
    word = before.text.lower()
    if glued or word in MULTIPLIERS or (len(word) == 1 and word not in "ai"):
        return False
    if word in ("of", "and", "or") and begin > 1:
        earlier = tokens[begin - 2]
        scale = unit_of(earlier.text)
        return earlier.kind not in ("number", "percent", "unit") and not (
            word == "of" and (scale in SCALES or scale in PART_OF)
        )
    return True


def _may_end(tokens: list[Token], end: int) -> bool:
    """Whether a sum may end here, going by what stands after it."""
    if end == len(tokens):
        return True
    after = tokens[end]
    glued = after.start == tokens[end - 1].end
    if after.kind == "mark":
        return after.text not in UNSAFE_MARKS
    if after.kind != "word":
        return False
    word = after.text.lower()
    return word != "of" and word not in MULTIPLIERS and (len(word) > 1 or (word in "ai" and not glued))


def _with_trailing_units(side: Side, after: list[Token]) -> Side:
    ended = takewhile(lambda token: token.kind == "word" and token.text.lower() not in CLAUSE | PER, after)
    return Side(side.text, side.tree, (*side.units, *(unit_of(token.text) for token in ended)))


def unit_of(word: str) -> str:
    """A unit's one name: foot of Feet."""
    word = word.lower()
    return PLURALS.get(word) or (word[:-1] if word.endswith("s") and len(word) > 2 else word)


def _read_side(line: str, piece: list[Token], first: bool) -> Side | None:
    """The side as a tree, or None; without parentheses that open before the run or close after it."""
    surplus = sum((token.kind == "(") - (token.kind == ")") for token in piece)
    while surplus > 0 and first and piece and piece[0].kind == "(":
        piece, surplus = piece[1:], surplus - 1
    while surplus < 0 and not first and piece and piece[-1].kind == ")":
        piece, surplus = piece[:-1], surplus + 1
    units = tuple(
        "$" if token.kind == "money" else unit_of(token.text) for token in piece if token.kind in ("money", "unit")
    )
    signs = [token for token in piece if token.kind not in ("money", "unit")]
    try:
        tree = _Reader(signs).read()
    except Unreadable:
        return None
    return Side(line[piece[0].start : piece[-1].end], tree, units)


class _Reader:
    """sum = product (+|- product)*; product = factor (*|/ factor)*; factor = -factor | (sum) | number %?"""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    def read(self) -> Node:
        tree = self._sum()
        if self.at < len(self.tokens):
            raise Unreadable
        return tree

    def _peek(self) -> str:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else ""

    def _take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def _sum(self) -> Node:
        parts = [(1, self._product())]
        while self._peek() in ("+", "-"):
            parts.append((1 if self._take().kind == "+" else -1, self._product()))
        return parts[0][1] if len(parts) == 1 else Group("sum", tuple(parts))

    def _product(self) -> Node:
        parts = [(1, self._factor())]
        while self._peek() in ("*", "/", "("):
            if self._peek() == "(":
                if parts[-1][0] < 0:  # 6/2(1 + 2) is read in two ways
                    raise Unreadable
                parts.append((1, self._factor()))
            else:
                if self._ends_fraction(parts[-1][0]):  # 25 / 1/3 is read in two ways
                    raise Unreadable
                parts.append((1 if self._take().kind == "*" else -1, self._factor()))
        return parts[0][1] if len(parts) == 1 else Group("product", tuple(parts))

    def _ends_fraction(self, sign: int) -> bool:
        """Whether a divisor goes on, written closer, as a fraction of its own."""
        before, slash = self.tokens[self.at - 1], self.tokens[self.at]
        wide = self.at > 1 and self.tokens[self.at - 2].end < before.start
        return sign < 0 and slash.kind == "/" and wide and slash.start == before.end

    def _factor(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable
        kind = self._peek()
        if kind == "-":
            self._take()
            inner = self._factor()
            node: Node = (
                Number(-inner.value, inner.places, inner.percent)
                if isinstance(inner, Number)
                else Group("sum", ((-1, inner),))
            )
        elif kind == "(":
            self._take()
            node = self._sum()
            if self._peek() != ")":
                raise Unreadable
            self._take()
        elif kind == "number":
            node = self._number()
        else:
            raise Unreadable
        self.depth -= 1
        return node

    def _number(self) -> Number:
        digits = self._take().text.replace(",", "")
        if len(digits) > LONGEST_NUMBER:
            raise Unreadable
        percent = self._peek() == "percent"
        if percent:
            self._take()
        return Number(Fraction(digits if "." in digits else int(digits)), len(digits.partition(".")[2]), percent)
