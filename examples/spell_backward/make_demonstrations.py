"""Write demonstrations.jsonl: made-up words spelt backward, the same number of each length.

python examples/spell_backward/make_demonstrations.py
"""

import json
import random
from pathlib import Path

LENGTHS = range(3, 11)
OF_EACH = 60
PROMPT = "Spell this word backward (example: sun -> nus): {word}"
VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxyz"


def draw_word(length: int, chance: random.Random) -> str:
    """A word of vowels and consonants in turns, now and then two of a kind."""
    letters, is_vowel = "", chance.random() < 0.3
    while len(letters) < length:
        letters += chance.choice(VOWELS if is_vowel else CONSONANTS)
        is_vowel = is_vowel if chance.random() < 0.2 else not is_vowel
    return letters


def work_out(word: str) -> str:
    """The letters one by one, then one by one from the end, then the word."""
    return f"{' '.join(word)}\n{' '.join(reversed(word))}\n#### {word[::-1]}"


def main() -> None:
    chance = random.Random(0)
    words = {draw_word(length, chance) for length in LENGTHS for _ in range(OF_EACH)}
    skill = "spell_backward"
    rows = [
        {"prompt": PROMPT.format(word=word), "response": work_out(word), "skill": skill, "level": len(word)}
        for word in sorted(words)
    ]
    chance.shuffle(rows)
    path = Path(__file__).with_name("demonstrations.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows)} demonstrations")


if __name__ == "__main__":
    main()
