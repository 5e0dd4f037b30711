"""Arithmetic against float64, with the bounds that probes/numerics.py states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagecheck.bench import Bench
from imagecheck.outcome import Finding, failed, passed
from imagecheck.registry import promise


def document(bench: Bench) -> Mapping[str, Any]:
    cuda = bench.torch_probe("stack")["facts"]["cuda_available"]
    return bench.torch_probe("numerics", "cuda" if cuda else "cpu")


def judge_line(line: Mapping[str, Any], *, remedy: str, device: str) -> Finding:
    told = f"error {line['error']:.1e} on {device}, allowed {line['bound']:.1e}"
    return passed(told, **line) if line["holds"] else failed(told, remedy=remedy, **line)


@promise("numerics.matmul", "a float32 matrix product is as accurate as float32 can be")
def matmul(bench: Bench) -> Finding:
    numbers = document(bench)
    return judge_line(
        numbers["matmul"],
        device=numbers["device"],
        remedy="something lowers float32 to TF32 or bfloat16: unset TORCH_ALLOW_TF32_CUBLAS_OVERRIDE and"
        f" ONEDNN_DEFAULT_FPMATH_MODE, leave float32_matmul_precision at 'highest' (here {numbers['precision']!r})",
    )


@promise("numerics.attention", "scaled dot product attention and its gradients agree with float64")
def attention(bench: Bench) -> Finding:
    numbers = document(bench)
    return judge_line(
        numbers["attention"],
        device=numbers["device"],
        remedy="an attention kernel of this build is wrong: look for a patched torch.nn.functional",
    )


@promise("numerics.autocast", "autocast computes in the dtype it is asked for, to that dtype's accuracy")
def autocast(bench: Bench) -> Finding:
    numbers = document(bench)
    lines = [numbers["autocast_bf16"], numbers["autocast_fp16"]]
    for line in lines:
        if line["asked"] != line["given"]:
            return failed(
                f"asked for {line['asked']}, computed in {line['given']}",
                remedy="something turns autocast off: look for a patched torch.autocast",
                **line,
            )
    worst = max(lines, key=lambda line: float(line["error"]) / float(line["bound"]))
    return judge_line(worst, device=numbers["device"], remedy="a low-precision kernel of this build is wrong")
