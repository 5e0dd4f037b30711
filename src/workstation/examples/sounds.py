"""Six kinds of half-second sounds, the noise they are heard through, and the .wav files they can be kept in."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
from scipy.io import wavfile
from torch import Tensor
from torch.nn import functional as F

RATE, SAMPLES = 8000, 4000  # per second; per sound
TEST = 480  # sounds, to be heard at each signal-to-noise ratio
KINDS = ("tone", "rise", "fall", "wobble", "pulses", "hiss")


def sounds(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Waves of power 1 and the number of their kind in KINDS, as many of each: (rows, SAMPLES) and (rows,).

    All sound around a pitch from 400 to 2000 Hz. `rise` and `fall` move by a factor of 1.5 to 2.5, `wobble` swings by a
    quarter 4 to 10 times a second, `pulses` is on for 40 % of each of 6 to 12 beats a second, `hiss` is a noise of
    about 500 Hz width.
    """
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(rows, 1, generator=generator)

    kinds = torch.arange(rows) % len(KINDS)
    kind = {name: (kinds == number)[:, None] for number, name in enumerate(KINDS)}
    time = torch.arange(SAMPLES) / RATE  # seconds
    slide = between(1.5, 2.5) ** (2 * time - 0.5)  # from low to high, and right in the middle
    swing = 1 + 0.25 * (2 * math.pi * (between(4, 10) * time + between(0, 1))).sin()
    pitch = 400 * 5 ** between(0, 1) * torch.ones(SAMPLES)
    pitch = torch.where(kind["rise"], pitch * slide, torch.where(kind["fall"], pitch / slide, pitch))
    pitch = torch.where(kind["wobble"], pitch * swing, pitch)
    waves = (2 * math.pi * (pitch.cumsum(dim=1) / RATE + between(0, 1))).sin()
    is_on = (between(6, 12) * time + between(0, 1)) % 1 < 0.4
    waves = torch.where(kind["pulses"], waves * is_on, waves)
    low_noise = F.conv1d(torch.randn(rows, 1, SAMPLES, generator=generator), _hann(33), padding=16).squeeze(1)
    waves = torch.where(kind["hiss"], waves * low_noise, waves)
    return waves / waves.square().mean(dim=1, keepdim=True).sqrt(), kinds


def _hann(size: int) -> Tensor:
    return torch.hann_window(size).view(1, 1, size)


def hear(waves: Tensor, decibels: tuple[float, float], generator: torch.Generator | None = None) -> Tensor:
    """Each wave with white noise, at a signal-to-noise ratio drawn from that range, and at a random level.

    SNR = 10·log₁₀(power of the sound / power of the noise): at 0 dB both are equally strong. The level, from 0.01 to
    0.1 of full scale, is drawn so that it tells nothing.
    """
    rows = len(waves)
    low, high = decibels
    ratio = low + (high - low) * torch.rand(rows, 1, generator=generator)
    heard = waves + torch.randn(waves.shape, generator=generator) * 10 ** (-ratio / 20)
    level = 10 ** (-2 + torch.rand(rows, 1, generator=generator))
    return level * heard / heard.square().mean(dim=1, keepdim=True).sqrt()


def unseen(decibels: float, seed: int) -> tuple[Tensor, Tensor]:
    """Sounds that no seed trains on, heard at one signal-to-noise ratio, and their kinds."""
    waves, kinds = sounds(TEST, seed=1_000_000 + seed)
    return hear(waves, (decibels, decibels), torch.Generator().manual_seed(seed)), kinds


def to_wav(wave: Tensor) -> bytes:
    """A .wav file of 16-bit samples: (SAMPLES,) from −1 to 1. What is louder is cut off, as a recorder does."""
    file = io.BytesIO()
    samples = (wave.double() * 32768).round().clamp(-32768, 32767)
    wavfile.write(file, RATE, samples.numpy().astype(np.int16))
    return file.getvalue()


def from_wav(content: bytes) -> Tensor:
    """The wave of a 16-bit .wav file. `torchaudio.load` would do, but asks for TorchCodec and FFmpeg since 2.9."""
    _, samples = wavfile.read(io.BytesIO(content))
    return torch.from_numpy(samples.astype(np.float32)) / 32768
