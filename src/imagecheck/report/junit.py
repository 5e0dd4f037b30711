"""The scorecard as JUnit XML, which every CI shows: a test suite an image, a test case a check."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from imagecheck.outcome import Outcome, Result
from imagecheck.scorecard import Scorecard

NOT_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")  # logs hold colour codes


def to_junit(card: Scorecard) -> str:
    """One XML document. Evidence that is a log goes to system-out."""
    suite = ElementTree.Element(
        "testsuite",
        name=f"imagecheck {card.image.reference}",
        tests=str(len(card.results)),
        failures=str(len(card.with_outcome(Outcome.FAIL))),
        errors=str(len(card.with_outcome(Outcome.ERROR))),
        skipped=str(len(card.with_outcome(Outcome.SKIP))),
        time=f"{card.seconds:.1f}",
        timestamp=card.started,
    )
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="image.digest", value=card.image.id)
    for result in card.results:
        suite.append(case(result))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def case(result: Result) -> ElementTree.Element:
    group, _, name = result.check.partition(".")
    element = ElementTree.Element("testcase", classname=f"imagecheck.{group}", name=name, time=f"{result.seconds:.2f}")
    kind = {Outcome.FAIL: "failure", Outcome.ERROR: "error", Outcome.SKIP: "skipped"}.get(result.outcome)
    if kind:
        summary = clean(result.finding.summary)
        detail = ElementTree.SubElement(element, kind, message=summary)
        detail.text = clean(f"{result.promise}\n{result.finding.summary}\n-> {result.remedy}" if result.remedy else "")
    log = result.finding.evidence.get("log")
    if log:
        ElementTree.SubElement(element, "system-out").text = clean(str(log))
    return element


def clean(text: str) -> str:
    return NOT_XML.sub("", text)
