"""What a sensor on a ball bearing's housing records: whole, or with a fault in one of its parts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATE, SAMPLES = 10_000, 2048  # per second; per recording, about 0.2 s
KINDS = ("whole", "outer ring", "inner ring", "ball")
# How often a ball hits the fault while the shaft turns once, for the bearing type 6205; its cage turns 0.398 times.
HITS = torch.tensor([3.585, 5.415, 4.714])
CAGE = 0.398


def recordings(rows: int, seed: int, turns: tuple[float, float] = (23.0, 27.0)) -> tuple[Tensor, Tensor, Tensor]:
    """Recordings of power 1, (rows, SAMPLES), their kinds and the shaft's turns a second, (rows,) both.

    As many of each kind. The shaft hums at 1, 2, 3 and 23 times its speed, and there is noise. A fault adds hits that
    ring at 2.5 to 3.5 kHz and die away in some milliseconds, from 8 dB below the noise to 2 dB above. They come with a
    jitter of 1 %, for the balls slip. A fault on the inner ring moves through the load and is hit harder and softer
    once a turn of the shaft, one on a ball once a turn of the cage.
    """
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(rows, 1, generator=generator)

    time = torch.arange(SAMPLES) / RATE
    kinds = torch.arange(rows) % len(KINDS)
    speed = between(*turns)
    hum = sum(
        between(0.1, 0.5) * (2 * math.pi * (order * speed * time + between(0, 1))).sin() for order in (1, 2, 3, 23)
    )
    hits = _ringing(_moments(kinds, speed, generator), between(2500, 3500), time)
    hits = hits / hits.square().mean(dim=1, keepdim=True).sqrt() * 10 ** (between(-8, 2) / 20)
    heard = hum + torch.randn(rows, SAMPLES, generator=generator) + hits * (kinds > 0)[:, None]
    return heard / heard.square().mean(dim=1, keepdim=True).sqrt(), kinds, speed.squeeze(1)


def _moments(kinds: Tensor, speed: Tensor, generator: torch.Generator) -> Tensor:
    """How hard the fault is hit at each sample: (rows, SAMPLES), nearly all 0. A whole bearing gets some too."""
    rows, most = len(kinds), 64  # more hits than a recording has room for
    rate = HITS[(kinds - 1).clamp_min(0)][:, None] * speed
    gaps = 1 + 0.01 * torch.randn(rows, most, generator=generator)
    when = (gaps.cumsum(dim=1) - 1 - torch.rand(rows, 1, generator=generator)) / rate  # seconds; the first before 0
    turning = torch.where((kinds == 2)[:, None], speed, CAGE * speed) * when + torch.rand(rows, 1, generator=generator)
    load = torch.where((kinds >= 2)[:, None], 0.5 + 0.5 * (2 * math.pi * turning).cos(), torch.ones(()))
    force = load * (1 + 0.2 * torch.randn(rows, most, generator=generator))
    place = (when * RATE).round().long()
    inside = (place >= 0) & (place < SAMPLES)
    return torch.zeros(rows, SAMPLES).scatter_add_(1, place.clamp(0, SAMPLES - 1), force * inside)


def _ringing(moments: Tensor, pitch: Tensor, time: Tensor) -> Tensor:
    """Each hit rings at `pitch`, (rows, 1), and dies away: a convolution, by FFT, with room so that nothing wraps."""
    ring = (-800 * time).exp() * (2 * math.pi * pitch * time).sin()
    room = 2 * SAMPLES
    return torch.fft.irfft(torch.fft.rfft(moments, room) * torch.fft.rfft(ring, room), room)[:, :SAMPLES]


def statistics(waves: Tensor) -> Tensor:
    """Six numbers about a recording's shape that know nothing of time's order, or little: (rows, 6).

    Deviation, skewness, kurtosis, crest factor, clearance, and how rough it is from sample to sample.
    """
    deviation = waves.std(dim=1)
    steep = ((waves - waves.mean(dim=1, keepdim=True)) / deviation[:, None]).unsqueeze(0)
    skewness, kurtosis = steep.pow(torch.tensor([3, 4]).view(2, 1, 1)).mean(dim=2)
    crest = waves.abs().amax(dim=1) / deviation
    clearance = waves.abs().amax(dim=1) / waves.abs().sqrt().mean(dim=1).square()
    rough = waves.diff(dim=1).std(dim=1) / deviation
    return torch.stack([deviation, skewness, kurtosis, crest, clearance, rough], dim=1)


def envelope_spectrum(waves: Tensor) -> tuple[Tensor, Tensor]:
    """How strongly the ringing swells and fades, by frequency: Hz, (bins,), and power, (rows, bins).

    Band-pass from 2 to 4.5 kHz, where the hits ring; the absolute value of the analytic signal is their envelope.
    """
    hertz = torch.fft.fftfreq(SAMPLES, 1 / RATE)
    envelope = torch.fft.ifft(torch.fft.fft(waves) * ((hertz > 2000) & (hertz < 4500)) * 2).abs()
    envelope = (envelope - envelope.mean(dim=1, keepdim=True)) * torch.hann_window(SAMPLES)
    room = 4 * SAMPLES  # finer bins than 5 Hz, between which a line would fall
    return torch.fft.rfftfreq(room, 1 / RATE), torch.fft.rfft(envelope, room).abs().square()


def fault_lines(waves: Tensor, speed: Tensor) -> Tensor:
    """What an expert looks at: the envelope's power near 1, 2 and 3 times each part's hits, in log: (rows, 3).

    It is a share of the median power from 20 to 500 Hz. The shaft's speed must be known.
    """
    hertz, power = envelope_spectrum(waves)
    floor = power[:, (hertz > 20) & (hertz < 500)].median(dim=1).values[:, None]
    line = HITS * speed[:, None]  # (rows, 3) Hz
    total = torch.zeros_like(line)
    for harmonic in (1, 2, 3):
        near = (hertz - harmonic * line[..., None]).abs() < 0.03 * harmonic * line[..., None]  # (rows, 3, bins)
        total += (power[:, None] * near).amax(dim=2) / floor
    return total.log()
