"""English sentences and their Chinese translations, both made from one meaning: who bought how many, and when.

The two languages disagree on nearly everything here. English puts the day last, Chinese right after the subject.
Chinese counts in a measure word that depends on the thing (三本书, 三张票). Numbers are built by different rules. "Did
not" is one character before the verb, the past another one after it. And "because it rained" moves to the front.
"""

from __future__ import annotations

import calendar
import random
from collections.abc import Collection
from dataclasses import dataclass

WHO = (
    ("I", "我"), ("she", "她"), ("we", "我们"), ("they", "他们"), ("my brother", "我哥哥"), ("the teacher", "老师"),
    ("Mr Wang", "王先生"), ("our neighbour", "邻居"),
)  # fmt: skip
# (infinitive, past, Chinese)
DID = (
    ("buy", "bought", "买"), ("sell", "sold", "卖"), ("lose", "lost", "丢"), ("find", "found", "找到"),
    ("see", "saw", "看见"), ("order", "ordered", "订"),
)  # fmt: skip
# (plural, measure word, Chinese)
THINGS = (
    ("books", "本", "书"), ("dictionaries", "本", "词典"), ("tickets", "张", "票"), ("tables", "张", "桌子"),
    ("trousers", "条", "裤子"), ("fish", "条", "鱼"), ("cars", "辆", "汽车"), ("bicycles", "辆", "自行车"),
    ("pens", "支", "笔"), ("shirts", "件", "衬衫"), ("horses", "匹", "马"), ("umbrellas", "把", "伞"),
)  # fmt: skip
CLAUSES = (
    ("", ""), (" because it rained", "因为下雨，"), (" because it was a holiday", "因为放假，"),
    (" although it was late", "虽然很晚，"), (" after class", "下课后，"),
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
ONES = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
ORDINALS = (
    "", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
HAN = ("", "一", "二", "三", "四", "五", "六", "七", "八", "九")
COUNTS = frozenset(range(2, 100))
LEAP_YEAR = 2000  # no sentence names a year, so each day of some year may occur


@dataclass(frozen=True)
class Sentence:
    english: str
    chinese: str


def english_number(number: int) -> str:
    """1 to 99 in words: 35 is `thirty-five`."""
    tens, ones = divmod(number, 10)
    return ONES[number] if number < 20 else TENS[tens] + (f"-{ONES[ones]}" if ones else "")


def chinese_number(number: int) -> str:
    """1 to 99 in characters: 35 is 三十五, 15 is 十五, 30 is 三十."""
    tens, ones = divmod(number, 10)
    return (HAN[tens] if tens > 1 else "") + ("十" if tens else "") + HAN[ones]


def english_day(day: int) -> str:
    """1 to 31: 21 is `twenty-first`."""
    if day in (20, 30):
        return TENS[day // 10].replace("ty", "tieth")
    return ORDINALS[day] if day < 20 else f"{TENS[day // 10]}-{ORDINALS[day % 10]}"


def kept_back(seed: int) -> frozenset[int]:
    """Counts that no sentence to learn from has: a quarter of those whose English name is made of two words."""
    composed = [count for count in sorted(COUNTS) if count > 20 and count % 10]
    return frozenset(random.Random(f"kept back {seed}").sample(composed, len(composed) // 4))


def sentences(rows: int, seed: int, counts: Collection[int]) -> list[Sentence]:
    """`rows` sentences about so many things; the same seed and counts give the same ones."""
    chance = random.Random(f"sentences {seed}")
    allowed = sorted(counts)
    return [_sentence(chance, chance.choice(allowed)) for _ in range(rows)]


def _sentence(chance: random.Random, count: int) -> Sentence:
    who, who_zh = chance.choice(WHO)
    (now, past, verb_zh), (things, measure, things_zh) = chance.choice(DID), chance.choice(THINGS)
    month = chance.randrange(12)
    day = chance.randint(1, calendar.monthrange(LEAP_YEAR, month + 1)[1])
    did, did_zh = chance.choice(
        [(past, f"{verb_zh}了"), (f"did not {now}", f"没{verb_zh}"), (f"will {now}", f"会{verb_zh}")]
    )
    why, why_zh = chance.choice(CLAUSES)
    counted = "两" if count == 2 else chinese_number(count)
    return Sentence(
        f"{who} {did} {english_number(count)} {things} on {MONTHS[month]} {english_day(day)}{why}",
        f"{why_zh}{who_zh}{chinese_number(month + 1)}月{chinese_number(day)}日{did_zh}{counted}{measure}{things_zh}",
    )
