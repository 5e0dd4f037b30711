"""Training learns: thresholds, not a loss that merely went down; twice the same; and through a stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagecheck.bench import Bench, Blocked
from imagecheck.outcome import Finding, failed, passed
from imagecheck.registry import promise

WRONG_GRADIENT = (
    "some operator, gradient or optimizer of this build is wrong: compare the curve with another image's"
    " (imagecheck compare), and reinstall torch unpatched"
)
GPU_REFUSES = "the GPU or its driver refuses, not this build: see gpu.visible, gpu.kernels and gpu.memory"


def device(bench: Bench) -> str:
    return "cuda" if bench.torch_probe("stack")["facts"]["cuda_available"] else "cpu"


def tasks(bench: Bench) -> Mapping[str, Mapping[str, Any]]:
    return bench.torch_probe("training", device(bench))


def judge_threshold(bench: Bench, name: str) -> Finding:
    task = tasks(bench)[name]
    if "error" in task:
        remedy = GPU_REFUSES if "CUDA" in task["error"] else WRONG_GRADIENT
        return failed(task["error"].splitlines()[0], remedy=remedy, log=task["error"])
    score, threshold = task["score"], task["threshold"]
    reached = score <= threshold if task["lower_is_better"] else score >= threshold
    sign = "≤" if task["lower_is_better"] else "≥"
    told = f"{task['unit']} {score:.3g} after {task['steps']} steps on {device(bench)} (asked: {sign} {threshold:g})"
    facts = {key: task[key] for key in ("score", "threshold", "steps", "seconds")}
    return passed(told, **facts) if reached else failed(told, remedy=WRONG_GRADIENT, **facts)


@promise("training.regression", "a linear model finds its known coefficients within 300 steps")
def regression(bench: Bench) -> Finding:
    return judge_threshold(bench, "regression")


@promise("training.digits", "a CNN reads at least 95 % of unseen handwritten digits")
def digits(bench: Bench) -> Finding:
    return judge_threshold(bench, "digits")


@promise("training.gpt", "a two-layer GPT learns a text by heart")
def gpt(bench: Bench) -> Finding:
    return judge_threshold(bench, "gpt")


def finished(bench: Bench) -> dict[str, Mapping[str, Any]]:
    """The tasks that ran to their end; the others have failed a check of their own."""
    return {name: task for name, task in tasks(bench).items() if "error" not in task}


@promise("training.repeats", "a second run with the same seed gives bitwise the same losses")
def repeats(bench: Bench) -> Finding:
    runs = finished(bench)
    differing = {name: run["first_difference"] for name, run in runs.items() if not run["repeats"]}
    if not runs:
        raise Blocked("no task ran to its end: see training.regression")
    if differing:
        return failed(
            f"losses differ between two runs of one seed: {', '.join(differing)}",
            remedy="look for code that reseeds at start (sitecustomize), and for a patched torch.manual_seed",
            first_difference=differing,
        )
    return passed(f"{', '.join(runs)}: bitwise the same")


@promise("training.resumes", "a run resumed from its checkpoint goes on bitwise as if it had not stopped")
def resumes(bench: Bench) -> Finding:
    runs = {name: run for name, run in finished(bench).items() if run["repeats"]}
    if not runs:
        raise Blocked("no run repeats, so none can be compared: see training.repeats")
    differing = {name: run["first_difference"] for name, run in runs.items() if not run["resumes"]}
    if differing:
        return failed(
            f"after the checkpoint the losses differ: {', '.join(differing)}",
            remedy="torch.save/torch.load or an optimizer's load_state_dict loses state: reinstall torch unpatched",
            first_difference=differing,
        )
    return passed(f"{', '.join(runs)}: bitwise the same through a checkpoint")
