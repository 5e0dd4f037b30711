"""Transfer learning: what was learnt from print helps with handwriting."""

from __future__ import annotations

import pytest
import torch

from workstation.examples import transfer
from workstation.examples.datasets import digits
from workstation.examples.glyphs import CHARACTERS, printed
from workstation.training.settings import Settings


@pytest.mark.slow
def test_pretraining_helps_where_examples_are_few(settings: Settings) -> None:
    result = transfer.run(settings)
    assert result.holds(), result


def test_the_same_seed_gives_the_same_bits() -> None:
    assert transfer.run(Settings(seed=1, epochs=2)) == transfer.run(Settings(seed=1, epochs=2))


def test_a_network_that_learnt_nothing_breaks_the_promise() -> None:
    assert not transfer.run(Settings(epochs=1)).holds()


def test_the_pretrained_network_is_copied_and_never_changed() -> None:
    settings = Settings(epochs=2)
    pretrained = transfer.pretrain(settings)
    before = {name: value.clone() for name, value in pretrained.state_dict().items()}
    for frozen in (True, False):
        transfer.learn_ten(pretrained, 0, settings, (), "way", frozen=frozen)
    assert all(torch.equal(before[name], value) for name, value in pretrained.state_dict().items())


def test_only_the_head_is_trained_when_the_backbone_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    monkeypatch.setattr(transfer, "_fit", lambda model, *_, **__: trained.append(_trainable(model)))
    pretrained = transfer.convnet(side=8, classes=len(CHARACTERS))
    for frozen in (True, False):
        transfer.learn_ten(pretrained, 0, Settings(), (), "way", frozen=frozen)
    assert trained == [2570, 58_634]


def _trainable(model: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def test_ten_pictures_are_one_of_each_digit_and_the_rest_is_unseen() -> None:
    _, classes = digits()
    ten, rest = transfer.one_of_each(classes, seed=3)
    assert classes[ten].tolist() == list(range(10))
    assert set(ten.tolist()).isdisjoint(rest.tolist())
    assert len(rest) == 1787


def test_printed_characters_are_many_and_each_one_differs() -> None:
    images, characters = printed()
    assert images.shape == (992, 1, 8, 8)
    assert characters.bincount().tolist() == [16] * len(CHARACTERS)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.flatten(1).std(dim=1).min() > 0.05  # no blank page
