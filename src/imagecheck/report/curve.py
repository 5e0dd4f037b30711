"""A training curve as SVG, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 480, 180, 44
SMALLEST = 1e-16  # a loss of exactly 0 has no logarithm


def to_svg(losses: Sequence[float]) -> str:
    """`losses` over their steps; a value that is not finite leaves a gap. Powers of ten are ruled and named."""
    logs = [math.log10(max(loss, SMALLEST)) if math.isfinite(loss) else None for loss in losses]
    seen = [value for value in logs if value is not None] or [0.0]
    low, high = math.floor(min(seen)), max(math.ceil(max(seen)), math.floor(min(seen)) + 1)

    def x(step: int) -> float:
        return MARGIN + (WIDTH - MARGIN - 4) * step / max(len(losses) - 1, 1)

    def y(value: float) -> float:
        return 8 + (HEIGHT - 24) * (high - value) / (high - low)

    rules = "".join(
        f'<path d="M{MARGIN} {y(power):.1f}H{WIDTH}" stroke="currentColor" opacity=".2"/>'
        f'<text x="{MARGIN - 4}" y="{y(power) + 4:.1f}" text-anchor="end">1e{power}</text>'
        for power in range(low, high + 1, max(1, (high - low) // 5))
    )
    points = [(x(step), y(value)) if value is not None else None for step, value in enumerate(logs)]
    line, pen_down = "", False
    for point in points:
        line += f"{'L' if pen_down else 'M'}{point[0]:.1f} {point[1]:.1f}" if point else ""
        pen_down = point is not None
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-size="11" fill="currentColor">{rules}'
        f'<path d="{line}" fill="none" stroke="#0969da" stroke-width="1.5"/></svg>'
    )
