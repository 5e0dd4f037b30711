"""Reports say the same in every form, and nothing of a log can break them."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

from recorded import image

from imagecheck.cli import REPORTS
from imagecheck.outcome import Finding, Outcome, Result, failed, passed, skipped
from imagecheck.report import comparison
from imagecheck.report.curve import to_svg
from imagecheck.report.document import to_document
from imagecheck.scorecard import Scorecard

NASTY = "\x1b[31mTraceback\x00 <script>alert(1)</script> & more"


def scorecard(**facts: object) -> Scorecard:
    results = (
        Result("stack.imports", "torch imports", passed("torch 2.14.1", version="2.14.1"), 1.0),
        Result("server.answers", "it answers", failed("it died", remedy="look <here>", log=NASTY), 2.0),
        Result("gpu.visible", "GPUs are seen", skipped("no GPU"), 0.0),
        Result("compile.cpu", "it compiles", Finding(Outcome.ERROR, "the container ended"), 0.0),
        Result("gpu.driver", "the driver fits", skipped("no GPU"), 0.0, required=True),
    )
    curves = {"gpt": [4.0, 2.0, float("nan"), 0.5]}
    return Scorecard(image(), results, 3.0, "2026-11-24T00:00:00+00:00", facts, curves)


def test_json_is_keyed_by_the_images_digest_and_counts_the_outcomes() -> None:
    document = json.loads(REPORTS["json"](scorecard()))
    assert document["image"]["digest"] == "sha256:" + "a" * 64
    assert document["totals"] == {"pass": 1, "fail": 2, "skip": 1, "error": 1}
    assert document["exit_code"] == 1


def test_junit_counts_as_the_scorecard_does_and_survives_control_characters() -> None:
    suite = ElementTree.fromstring(REPORTS["junit"](scorecard()))
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }
    failure = suite.find("testcase[@name='answers']/failure")
    assert failure is not None
    assert "look <here>" in (failure.text or "")


def test_the_page_is_self_contained_and_escapes_what_it_shows() -> None:
    page = REPORTS["html"](scorecard())
    assert not re.search(r"(src|href)=|url\(|https?://", page)
    assert "<script>" not in page
    assert "look &lt;here&gt;" in page
    assert "width=device-width" in page
    assert "<svg" in page


def test_a_loss_that_is_not_finite_leaves_a_gap_in_the_curve() -> None:
    path = to_svg([4.0, 2.0, float("nan"), 0.5, 0.4])
    assert path.count("M4") >= 1
    assert "nan" not in path


def test_a_flat_curve_can_be_drawn() -> None:
    assert "<svg" in to_svg([0.0, 0.0])


def test_a_comparison_names_what_differs_and_only_that() -> None:
    one, other = to_document(scorecard(torch="2.14.1")), to_document(scorecard(torch="2.15.0"))
    other["results"][0] = other["results"][0] | {"outcome": "fail", "summary": "import torchaudio fails"}
    del other["results"][4]
    assert [row[0] for row in comparison.outcomes(one, other)] == ["stack.imports", "gpu.driver"]
    assert ("torch", "2.14.1", "2.15.0") in comparison.versions(one, other)
