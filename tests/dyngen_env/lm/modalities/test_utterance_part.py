"""The part of an encoder that hears utterances: shapes, sounds by themselves and together, and its settings."""

import numpy as np
import pytest
import torch

from dyngen_env import Sound
from dyngen_env.lm.modalities.parts import as_settings, part_from
from dyngen_env.lm.modalities.utterance import utterance_features
from dyngen_env.lm.modalities.utterance_part import UtterancePart

SOUNDS = [
    Sound((0.1 * np.sin(np.arange(length) * step)).astype(np.float32))
    for length, step in ((5000, 0.2), (900, 0.5), (16000, 0.3))
]


def test_what_it_makes_of_a_sound_does_not_depend_on_the_others():
    part = UtterancePart(8, places=3, hidden=5)
    together = part(SOUNDS)
    assert together.shape == (3, 3, 8)
    assert torch.allclose(torch.cat([part([sound]) for sound in SOUNDS]), together, atol=1e-6)


def test_it_is_a_hidden_layer_on_the_features():
    part = UtterancePart(4, places=2, hidden=3)
    features = utterance_features(torch.from_numpy(SOUNDS[0].samples.copy()))
    hidden = torch.nn.functional.gelu(part.hidden.weight @ features + part.hidden.bias)
    expected = part.out.weight @ hidden + part.out.bias  # the first place, then the second
    assert torch.allclose(part(SOUNDS[:1])[0, 1], expected[4:], atol=1e-6)


def test_it_is_made_again_from_its_settings():
    part = UtterancePart(8, seconds=2.0, places=3, hidden=5)
    again = part_from(as_settings(part))
    again.load_state_dict(part.state_dict())
    assert torch.equal(again(SOUNDS), part(SOUNDS))


def test_a_sound_that_is_too_long_is_told():
    with pytest.raises(ValueError, match=r"a sound has 1\.00 s, and the encoder hears 0\.5 s: cut it"):
        UtterancePart(8, seconds=0.5)(SOUNDS)
