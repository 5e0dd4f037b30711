"""Audio: which of six sounds is it, and how much noise may there be? (A1 §8.2; A2 §8.2)

The article names speech and audio among the fields and shows nothing. A wave of 4000 samples says little to a network;
its mel spectrogram is a picture of pitch over time, and the CNN chapter's network reads it. What it was not trained to
hear through, it does not hear through: the same network, trained on clean sounds alone, breaks down in noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

from workstation.examples.cnn import convnet
from workstation.examples.sounds import KINDS, RATE, TEST, from_wav, hear, sounds, to_wav, unseen
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.scores import accuracy
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

TRAIN = 720
NOISY, CLEAN = (-5.0, 20.0), (30.0, 30.0)  # dB of signal over noise to train with

DATA = (
    f"{TRAIN + TEST} half-second sounds of {len(KINDS)} kinds in noise, made from the seed, in place of SpeechCommands"
)
PROMISE = (
    "95 % of unseen sounds are told apart in noise as strong as they are, and in three times that noise 30 points more "
    "than after clean training; loudness over time alone tells at most 60 % apart"
)


@dataclass(frozen=True)
class Result:
    """Accuracy on unseen sounds, by dB of signal over noise."""

    at_10_db: float
    at_0_db: float
    at_minus_5_db: float
    at_minus_10_db: float
    clean_at_10_db: float  # the same network, trained on clean sounds
    clean_at_0_db: float
    clean_at_minus_5_db: float
    loudness_at_10_db: float
    wav_error: float  # the largest change of a sample that a 16-bit .wav file makes

    def holds(self) -> bool:
        return (
            self.at_0_db >= 0.95
            and self.at_minus_5_db >= self.clean_at_minus_5_db + 0.3
            and self.loudness_at_10_db <= 0.6
            and self.wav_error <= 1 / 65536
        )


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    seed_everything(settings.seed)
    known = sounds(TRAIN, settings.seed)
    network, clean, loudness = classifier(), classifier(), loudness_reader()
    train(network, known, NOISY, settings, hooks, name="noisy")
    train(clean, known, CLEAN, settings, hooks, name="clean")
    train(loudness, known, NOISY, settings, hooks, name="loudness")
    tests = {decibels: unseen(decibels, settings.seed) for decibels in (10, 0, -5, -10)}

    def at(decibels: int, model: nn.Module = network) -> float:
        heard, kinds = tests[decibels]
        return accuracy(predict(model, heard, settings=settings), kinds)

    return Result(
        at_10_db=at(10),
        at_0_db=at(0),
        at_minus_5_db=at(-5),
        at_minus_10_db=at(-10),
        clean_at_10_db=at(10, clean),
        clean_at_0_db=at(0, clean),
        clean_at_minus_5_db=at(-5, clean),
        loudness_at_10_db=at(10, loudness),
        wav_error=max(float((from_wav(to_wav(wave)) - wave).abs().max()) for wave in tests[0][0][:20]),
    )


class LogMel(nn.Module):
    """A picture of a sound: 32 bands of pitch, spaced as the ear hears, in 32 slices of 16 ms, in decibels.

    Each picture is brought to mean 0 and deviation 1, so that a louder recording gives the same one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.power = MelSpectrogram(RATE, n_fft=256, hop_length=128, n_mels=32)
        self.decibels = AmplitudeToDB(top_db=80)

    def forward(self, waves: Tensor) -> Tensor:
        """(rows, SAMPLES) to (rows, 1, 32, 32)."""
        picture = self.decibels(self.power(waves)).unsqueeze(1)
        deviation, mean = torch.std_mean(picture, dim=(2, 3), keepdim=True)
        return (picture - mean) / deviation


class Loudness(nn.Module):
    """The wave's energy in 32 slices, in decibels about their mean: all that a level meter sees."""

    def forward(self, waves: Tensor) -> Tensor:
        """(rows, SAMPLES) to (rows, 32)."""
        energy = waves.unflatten(1, (32, -1)).square().mean(dim=2)
        decibels = 10 * energy.clamp_min(1e-10).log10()
        return decibels - decibels.mean(dim=1, keepdim=True)


def classifier() -> nn.Sequential:
    return nn.Sequential(LogMel(), convnet(side=32, classes=len(KINDS), widths=(8, 16, 16)))


def loudness_reader() -> nn.Sequential:
    return nn.Sequential(Loudness(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, len(KINDS)))


def train(
    model: nn.Module,
    known: tuple[Tensor, Tensor],
    decibels: tuple[float, float],
    settings: Settings,
    hooks: Sequence[Hook] = (),
    *,
    name: str = "audio",
) -> list[float]:
    """Each epoch hears the same sounds through new noise, of a strength drawn from `decibels`."""
    epochs = settings.epochs or 10
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    return fit(
        model,
        Batches(known, size=64, seed=settings.seed, augment=partial(hear, decibels=decibels)),
        F.cross_entropy,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs + 1),
        hooks=hooks,
        name=name,
    )
