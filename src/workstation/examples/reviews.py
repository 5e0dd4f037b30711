"""Short reviews in English and Chinese, made from one meaning, in which it decides *what* is denied.

"We were not hungry, and the food was really good" praises. "We were hungry, and the food was really not good" does not,
and has exactly the same words. So whoever only counts words is right on half of such a pair, whatever it has learnt.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

THINGS = (
    ("food", "菜"), ("room", "房间"), ("film", "电影"), ("book", "书"), ("hotel", "酒店"), ("phone", "手机"),
    ("service", "服务"), ("concert", "音乐会"), ("tour", "行程"), ("course", "课程"), ("shop", "店"), ("coat", "外套"),
)  # fmt: skip
UNSEEN_THINGS = (("soup", "汤"), ("play", "话剧"), ("camera", "相机"), ("bag", "包"))

PRAISE = (
    ("good", "好"), ("excellent", "出色"), ("wonderful", "精彩"), ("elegant", "精致"), ("reliable", "可靠"),
    ("useful", "实用"), ("beautiful", "漂亮"), ("charming", "迷人"), ("thoughtful", "用心"), ("lovely", "可爱"),
    ("impressive", "了不起"), ("interesting", "有趣"), ("clever", "巧妙"), ("tasteful", "雅致"), ("perfect", "完美"),
    ("special", "特别"), ("solid", "扎实"), ("worthwhile", "值得"), ("original", "新颖"), ("delightful", "讨喜"),
)  # fmt: skip
BLAME = (
    ("bad", "差"), ("awful", "糟糕"), ("boring", "无聊"), ("ugly", "难看"), ("rough", "粗糙"),
    ("annoying", "烦人"), ("dull", "乏味"), ("terrible", "可怕"), ("careless", "马虎"), ("sloppy", "敷衍"),
    ("tacky", "俗气"), ("outdated", "过时"), ("vulgar", "低级"), ("mediocre", "平庸"), ("clumsy", "笨拙"),
    ("laughable", "可笑"), ("complicated", "麻烦"), ("poor", "低劣"), ("shabby", "寒酸"), ("frustrating", "令人失望"),
)  # fmt: skip
KNOWN = [*PRAISE[:-4], *BLAME[:-4]]
KEPT_BACK = [*PRAISE[-4:], *BLAME[-4:]]

DENIALS = (
    ("not", "不"), ("not at all", "一点也不"), ("hardly", "谈不上"), ("by no means", "绝不"), ("anything but", "并不"),
)  # fmt: skip
EMPHASES = (("really", "真的"), ("in fact", "其实"), ("indeed", "确实"))
ASIDES = (
    ("we were {} hungry", "我们当时{}饿"), ("it was {} late", "时间{}晚"), ("the place was {} far away", "地方{}远"),
    ("I was {} tired", "我那天{}累"), ("the street was {} busy", "街上{}挤"), ("the weather was {} cold", "天气{}冷"),
    ("we were {} in a hurry", "我们{}赶时间"),
)  # fmt: skip
OPINION = ("the {thing} was {emphasis} {denial} {word}", "{thing}{emphasis}{denial}{word}")
JOINT = (", and ", "，")
LANGUAGES = ("English", "Chinese")


@dataclass(frozen=True)
class Meaning:
    """What a review says, before it is said in a language. Pairs of words are (English, Chinese)."""

    thing: tuple[str, str]
    word: tuple[str, str]
    praises: bool  # the word, before it is denied or not
    emphasis: tuple[str, str]
    aside: tuple[str, str]
    denial: tuple[str, str]
    denied: str  # "opinion", "aside" or "nothing"
    aside_first: bool

    @property
    def positive(self) -> bool:
        return self.praises != (self.denied == "opinion")

    def say(self, language: int) -> str:
        """The review in English (0) or Chinese (1)."""
        denial = {self.denied: self.denial[language]}
        opinion = OPINION[language].format(
            thing=self.thing[language],
            emphasis=self.emphasis[language],
            denial=denial.get("opinion", ""),
            word=self.word[language],
        )
        aside = self.aside[language].format(denial.get("aside", ""))
        clauses = (aside, opinion) if self.aside_first else (opinion, aside)
        return " ".join(JOINT[language].join(clauses).split())


def to_learn(rows: int, seed: int) -> list[Meaning]:
    """A third denies nothing, a third the aside, a third the opinion. The words kept back stand only in the first."""
    chance = random.Random(seed)
    words = {"nothing": [*PRAISE, *BLAME], "aside": KNOWN, "opinion": KNOWN}
    return [
        _meaning(chance, THINGS, words[denied], denied) for denied in itertools.islice(itertools.cycle(words), rows)
    ]


def plain(rows: int, seed: int) -> list[Meaning]:
    """Reviews of things that `to_learn` never names; nothing is denied."""
    chance = random.Random(f"plain {seed}")
    return [_meaning(chance, UNSEEN_THINGS, [*PRAISE, *BLAME], "nothing") for _ in range(rows)]


def pairs(count: int, seed: int) -> list[Meaning]:
    """Two reviews in a row have the same words and opposite verdicts: one denies the aside, one the opinion.

    The things are new, and the words are those that `to_learn` shows in no review with a denial.
    """
    chance = random.Random(f"pairs {seed}")
    firsts = [_meaning(chance, UNSEEN_THINGS, KEPT_BACK, "aside") for _ in range(count)]
    return [each for first in firsts for each in (first, replace(first, denied="opinion"))]


def _meaning(
    chance: random.Random, things: Sequence[tuple[str, str]], words: Sequence[tuple[str, str]], denied: str
) -> Meaning:
    word = chance.choice(words)
    return Meaning(
        chance.choice(things),
        word,
        word in PRAISE,
        chance.choice(EMPHASES),
        chance.choice(ASIDES),
        chance.choice(DENIALS),
        denied,
        chance.random() < 0.5,
    )
