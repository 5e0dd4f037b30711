"""Sounds told apart in noise, by a picture of pitch over time, and what the picture and the noise are made of."""

from __future__ import annotations

import io

import pytest
import torch
from scipy.io import wavfile

from workstation.examples import audio
from workstation.examples.audio import LogMel, Loudness
from workstation.examples.sounds import KINDS, RATE, SAMPLES, from_wav, hear, sounds, to_wav, unseen
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.mark.slow
def test_sounds_are_told_apart_in_noise_as_strong_as_they_are(settings: Settings) -> None:
    result = audio.run(settings)
    assert result.holds(), result


def test_a_run_cut_short_breaks_the_promise_and_repeats_to_the_bit() -> None:
    first, second = (audio.run(Settings(epochs=1)) for _ in range(2))
    assert not first.holds()
    assert first == second


def loudest_pitch(wave: torch.Tensor) -> torch.Tensor:
    """The strongest frequency, in Hz, of each eighth of the wave."""
    return torch.fft.rfft(wave.view(8, -1)).abs().argmax(dim=1) * RATE / (SAMPLES / 8)


def test_every_kind_sounds_as_its_name_says() -> None:
    waves, kinds = sounds(60, seed=0)
    for wave, kind in zip(waves, kinds.tolist(), strict=True):
        pitch, power = loudest_pitch(wave), wave.view(40, -1).square().mean(dim=1)
        steps = pitch.diff()
        match KINDS[kind]:
            case "tone":
                assert (steps.abs() <= 16).all()
            case "rise":
                assert (steps >= 0).all()
                assert pitch[-1] > 1.3 * pitch[0]
            case "fall":
                assert (steps <= 0).all()
                assert pitch[0] > 1.3 * pitch[-1]
            case "wobble":
                assert (steps > 0).any()
                assert (steps < 0).any()
            case "pulses":
                assert (power < 1e-6).sum() >= 10
            case "hiss":
                assert power.std() > 0.2


def test_as_many_of_each_kind_all_of_power_1_and_none_twice() -> None:
    waves, kinds = sounds(120, seed=0)
    assert kinds.bincount().tolist() == [20] * 6
    assert torch.allclose(waves.square().mean(dim=1), torch.ones(120))
    assert len({tuple(wave.tolist()) for wave in torch.cat([waves, sounds(120, seed=1)[0]])}) == 240


@pytest.mark.parametrize(("decibels", "ratio"), [(10, 10.0), (0, 1.0), (-10, 0.1)])
def test_noise_is_as_strong_as_the_decibels_say(decibels: float, ratio: float) -> None:
    waves, _ = sounds(30, seed=0)
    heard = hear(waves, (decibels, decibels), torch.Generator().manual_seed(0))
    gain = (heard * waves).mean(dim=1, keepdim=True)  # waves have power 1, and noise does not go with them
    noise = (heard / gain - waves).square().mean()
    assert noise.item() == pytest.approx(1 / ratio, rel=0.1)


def test_a_louder_recording_gives_the_same_picture() -> None:
    heard, _ = unseen(10, seed=0)
    picture = LogMel()(heard[:8])
    assert picture.shape == (8, 1, 32, 32)
    assert torch.allclose(LogMel()(5 * heard[:8]), picture, atol=0.01)
    assert torch.allclose(Loudness()(5 * heard[:8]), Loudness()(heard[:8]), atol=1e-3)


def test_a_rise_is_a_fall_backwards_so_the_order_in_time_decides() -> None:
    waves, kinds = sounds(60, seed=0)
    rise = waves[kinds == KINDS.index("rise")][:1]
    picture = LogMel()(torch.cat([rise, rise.flip(1)]))[:, 0]  # (2, bands, slices)
    centre = (picture.exp() * torch.arange(32)[:, None]).sum(dim=1) / picture.exp().sum(dim=1)
    assert centre[0, -2] > centre[0, 1] + 2
    assert centre[1, -2] < centre[1, 1] - 2
    assert torch.allclose(picture[0].mean(dim=1), picture[1].mean(dim=1), atol=0.2)


def test_a_wav_file_is_one_that_others_read_and_changes_a_sample_by_half_a_step() -> None:
    wave = unseen(10, seed=0)[0][0]
    rate, samples = wavfile.read(io.BytesIO(to_wav(wave)))
    assert (rate, samples.dtype, len(samples)) == (RATE, "int16", SAMPLES)
    assert (from_wav(to_wav(wave)) - wave).abs().max() <= 1 / 65536


def test_what_is_too_loud_is_cut_off_and_does_not_wrap_round() -> None:
    assert from_wav(to_wav(torch.tensor([-2.0, 2.0]))).tolist() == [-1.0, 32767 / 32768]


def test_clean_training_hears_no_noise_and_noisy_training_a_new_one_each_time() -> None:
    waves, _ = sounds(6, seed=0)
    seed_everything(0)
    first, second = (hear(waves, audio.NOISY) for _ in range(2))
    assert not torch.allclose(first, second)
    clean = hear(waves, audio.CLEAN)
    assert (clean / clean.square().mean(dim=1, keepdim=True).sqrt() - waves).square().mean() < 0.01
