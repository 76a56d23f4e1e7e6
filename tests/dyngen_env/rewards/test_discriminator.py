"""The reward `discriminator(...)`, against the discriminator itself on the tokens that the env shows."""

import pytest
import torch
from safetensors.torch import save_file

from dyngen_env.lm.discriminators.convolutional import ConvolutionalDiscriminator
from dyngen_env.lm.discriminators.file import FILE, DiscriminatorRecord
from dyngen_env.text.tokenizer import ByteTokenizer
from dyngen_env.text.vocabulary import vocabulary_fingerprint
from tests.support.envs import EOS, Talker, single, write
from tests.support.media import EXAMPLES

JUDGE = ConvolutionalDiscriminator(260, embedding=4, widths=(1, 2), filters=3, seed=1)


@pytest.fixture
def saved(tmp_path):
    def save(**changes):
        known = dict(tokenizer="bytes", vocabulary=vocabulary_fingerprint(ByteTokenizer()))
        record = DiscriminatorRecord(JUDGE.kind, JUDGE.settings, **(known | changes))
        save_file(JUDGE.module.state_dict(), tmp_path / FILE, record.metadata())
        return f"discriminator({str(tmp_path)!r})"

    return save


def probability(ids):
    return float(JUDGE.logits(torch.tensor([ids])).detach().sigmoid())


def test_it_pays_the_probability_of_prompt_and_completion(saved):
    env = single(prompts=["ab"], reward=saved())
    observation, _ = env.reset(seed=0)
    prompt = [t for t in observation.tolist() if t >= 0]
    last = write(env, "xyz", EOS)
    assert last[1] == pytest.approx(probability([*prompt, *b"xyz", 257]), abs=1e-6)
    assert last[4]["reward_terms"]["discriminator"] == pytest.approx(last[1])


def test_in_a_dialogue_it_judges_each_turn_by_itself(saved):
    env = single(prompts=["ab"], reward=saved(reads_prompt=False), user=Talker(), max_turns=2, max_context_tokens=40)
    env.reset(seed=0)
    paid = [write(env, text, EOS)[1] for text in ("xy", "z")]
    assert paid == pytest.approx([probability([*b"xy", 257]), probability([*b"z", 257])], abs=1e-6)


def test_a_discriminator_that_does_not_fit_is_refused_when_the_env_is_built(saved):
    reward = saved(tokenizer="others", vocabulary="sha256:other")
    with pytest.raises(ValueError, match=r"reads tokens of 'others', this env has those of 'bytes': give the env"):
        single(reward=reward)
    with pytest.raises(ValueError, match="in this env a user answers"):
        single(reward=saved(), user=Talker())
    with pytest.raises(ValueError, match="prompts show pictures or sounds, which it cannot read"):
        single(reward=saved(), prompts=EXAMPLES)
    with pytest.raises(ValueError, match="has learned nothing yet"):
        single(reward=saved(vocabulary=""))
    with pytest.raises(FileNotFoundError, match="no discriminator in 'nowhere'"):
        single(reward="discriminator('nowhere')")
