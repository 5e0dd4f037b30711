"""Which part of a bearing is broken: what a network learns from raw samples, and what an expert knows beforehand."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from workstation.examples import fault_diagnosis
from workstation.examples.fault_diagnosis import start_elsewhere
from workstation.examples.vibration import CAGE, HITS, KINDS, RATE, SAMPLES, envelope_spectrum, fault_lines, recordings
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.mark.slow
def test_a_network_names_the_broken_part_at_the_speed_it_knows(settings: Settings) -> None:
    result = fault_diagnosis.run(settings)
    assert result.holds(), result


def test_a_run_cut_short_breaks_the_promise_and_repeats_to_the_bit() -> None:
    first, second = (fault_diagnosis.run(Settings(epochs=1)) for _ in range(2))
    assert not first.holds()
    assert first == second


def test_each_part_of_the_promise_can_be_broken() -> None:
    good = fault_diagnosis.Result(0.99, 0.55, 0.99, 0.6, 0.5, 0.97)
    assert good.holds()
    for field, value in {"network": 0.94, "statistics": 0.8, "network_faster": 0.8, "expert_faster": 0.8}.items():
        assert not dataclasses.replace(good, **{field: value}).holds(), field


def test_as_many_of_each_kind_all_of_power_1_at_the_speed_asked_for() -> None:
    waves, kinds, speed = recordings(80, seed=0, turns=(30.0, 31.0))
    assert waves.shape == (80, SAMPLES)
    assert kinds.bincount().tolist() == [20] * len(KINDS)
    assert torch.allclose(waves.square().mean(dim=1), torch.ones(80))
    assert speed.min() >= 30
    assert speed.max() <= 31


def test_each_fault_has_the_strongest_line_at_its_own_frequency_at_any_speed() -> None:
    for turns in [(10.0, 12.0), (23.0, 27.0), (45.0, 50.0)]:
        waves, kinds, speed = recordings(400, seed=0, turns=turns)
        found = fault_lines(waves, speed).argmax(dim=1) + 1
        assert (found == kinds)[kinds > 0].float().mean() > 0.95


def test_the_wrong_speed_leads_the_expert_astray() -> None:
    waves, kinds, speed = recordings(400, seed=0)
    found = fault_lines(waves, 1.2 * speed).argmax(dim=1) + 1
    assert (found == kinds)[kinds > 0].float().mean() < 0.7


def test_the_envelope_of_a_swelling_tone_swells_as_often() -> None:
    time = torch.arange(SAMPLES) / RATE
    tone = (1 + 0.5 * (2 * torch.pi * 90 * time).cos()) * (2 * torch.pi * 3000 * time).sin()
    hertz, power = envelope_spectrum(tone[None])
    assert hertz[power[0].argmax()].item() == pytest.approx(90, abs=2)


def test_a_whole_bearing_has_no_line() -> None:
    waves, kinds, speed = recordings(400, seed=0)
    strongest = fault_lines(waves, speed).amax(dim=1)
    assert strongest[kinds == 0].quantile(0.95) < strongest[kinds > 0].quantile(0.05)


def test_starting_elsewhere_keeps_every_sample_and_moves_each_recording_by_itself() -> None:
    waves = torch.arange(SAMPLES).float().repeat(5, 1)
    seed_everything(0)
    turned = start_elsewhere(waves)
    assert torch.equal(turned.sort(dim=1).values, waves)
    assert len(set(turned[:, 0].tolist())) == 5


def test_the_hits_are_those_of_the_bearings_geometry() -> None:
    balls, ratio = 9, 0.3126 / 1.537  # of the type 6205: ball over pitch diameter, in inches; contact angle 0
    outer, inner = balls / 2 * (1 - ratio), balls / 2 * (1 + ratio)
    ball = (1 - ratio**2) / ratio  # it meets the inner and the outer ring once each a turn of its own
    assert pytest.approx([outer, inner, ball], rel=1e-3) == HITS.tolist()
    assert pytest.approx((1 - ratio) / 2, rel=1e-3) == CAGE
