"""Recorded episodes as something to learn from: what was recorded, what people have, and what cannot be read."""

import gc
import json

import pytest
import torch

from dyngen_agents.data.episodes import EPISODES, read_episodes
from dyngen_agents.data.offline import read_recorded, record, recording_of
from dyngen_agents.data.rollout import collect
from dyngen_agents.evaluation.rescore import rescore
from dyngen_agents.policy.actor import Actor
from dyngen_env.lm.modalities import attach_encoder, small_encoder
from dyngen_env.text.media.tokens import media_of
from dyngen_env.text.tokenizer import ByteTokenizer
from dyngen_env.types import Example, Feedback
from tests.support.envs import Talker
from tests.support.media import EXAMPLES, SPEAKS, Shows, picture, tone
from tests.support.small import small_env, small_policy

BOS, EOS, END, USER = ByteTokenizer.bos_id, ByteTokenizer.eos_id, ByteTokenizer.end_id, ByteTokenizer.user_id
TALKS = dict(user=Talker((Feedback("no", -1.0), Feedback("yes", 2.0))), max_turns=2, max_context_tokens=48)


def read(tmp_path, *lines, **options):
    """What one line each gives, as lists: tokens, which of them were chosen, and what they were paid."""
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    store = read_recorded(file, small_env(1, **options).unwrapped)
    return [tuple(x.tolist() for x in (e.tokens, e.completion_mask, e.rewards)) for e in store.episodes]


@pytest.mark.parametrize("options", [{}, TALKS], ids=["one turn", "dialogues"])
def test_a_recording_is_the_rollout_it_was_made_of(tmp_path, options):
    env = small_env(4, **options).unwrapped
    policy, examples = small_policy(env), [Example(prompt) for prompt in ("ab", "hello", "x", "y", "z")]
    about = {"env": "dyngen/Generate-v0", "options": {"max_new_tokens": 8}}
    returns = record(env, lambda seed: Actor(policy, seed), examples, tmp_path / "D", about, seed=7, policy="me")
    store = read_recorded(tmp_path / "D", env)
    parts = [
        collect(env, Actor(policy, 7 + start), len(some), examples=some, seed=[7 + start + i for i in range(len(some))])
        for start, some in ((0, examples[:4]), (4, examples[4:]))
    ]
    row = 0
    for batch in parts:
        for i in range(len(batch)):
            [length] = batch.completion_mask[i].nonzero()[-1].tolist()  # nothing is kept after the last choice
            episode = store.episodes[row]
            assert torch.equal(episode.tokens.long(), batch.tokens[i, : length + 1])
            for name in ("completion_mask", "rewards"):
                assert torch.equal(getattr(episode, name), getattr(batch, name)[i, : length + 1]), name
            torch.testing.assert_close(episode.logprobs, batch.logprobs[i, : length + 1], atol=1e-5, rtol=0)
            assert episode.text == batch.texts[i] and episode.finish_reason == batch.finish_reasons[i]
            row += 1
    assert returns == pytest.approx(store.returns.tolist(), abs=1e-6)
    said = recording_of(tmp_path / "D")
    assert (said["env"], said["options"], said["policy"], said["vocabulary"]) == (*about.values(), "me", 260)


def test_a_line_of_prompt_completion_and_reward(tmp_path):
    [ours] = read(tmp_path, {"prompt": "a", "completion": "bc", "reward": 2.5})
    assert ours == ([BOS, 97, 98, 99, EOS], [False, False, True, True, True], [0, 0, 0, 0, 2.5])
    [cut] = read(tmp_path, {"prompt": "a", "completion": "bc", "finish_reason": "length"})
    assert cut == ([BOS, 97, 98, 99], [False, False, True, True], [0, 0, 0, 0])


def test_where_strings_end_a_turn_one_of_them_ends_the_text(tmp_path):
    both = [{"prompt": "a", "text": "b"}, {"prompt": "a", "text": "b\n"}]
    assert [tokens for tokens, _, _ in read(tmp_path, *both, stop=("\n", "!"))] == [[BOS, 97, 98, 10]] * 2


def test_a_users_ratings_are_the_rewards_of_the_turns(tmp_path):
    talk = [
        {"role": "agent", "text": "b"},
        {"role": "user", "text": "no", "rating": -1},
        {"role": "agent", "text": "c"},
    ]
    last = {"role": "user", "text": "yes", "rating": 3}
    [rated] = read(tmp_path, {"prompt": "a", "dialogue": [*talk, last]})
    opening, reply = [BOS, USER, 97, END], [USER, 110, 111, END]
    assert rated[0] == [*opening, 98, END, *reply, 99, END]
    assert rated[1] == [*[False] * 4, True, True, *[False] * 4, True, True]
    assert rated[2] == [*[0] * 5, -1, *[0] * 5, 3]
    [paid] = read(tmp_path, {"prompt": "a", "dialogue": [*talk, last], "reward": 7})
    assert paid[2] == [*[0] * 11, 7]  # a reward that is said of the whole counts instead


def test_a_reward_that_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="line 1: reward 'good' is no finite number"):
        read(tmp_path, {"prompt": "a", "text": "b", "reward": "good"})


def test_what_is_too_long_is_left_out(tmp_path, caplog):
    lines = [{"prompt": "a", "text": "b"}, {"prompt": "a", "text": "b" * 40}]
    assert len(read(tmp_path, *lines)) == 1 and "1 of 2 episodes have more than 32 tokens" in caplog.text
    with pytest.raises(ValueError, match=r"every episode of .* has more than the 32 tokens"):
        read(tmp_path, lines[1])


def test_what_the_agent_may_not_write_is_left_out(tmp_path, caplog):
    lines = [
        {"prompt": "a", "text": "b"},
        {"prompt": "a", "text": "b bad x bad"},
        {"prompt": "a bad", "text": "b"},  # a prompt may be what it likes
    ]
    assert len(read(tmp_path, *lines, banned="bad")) == 2
    assert "of 3 episodes, 1 episodes with tokens that the agent may not write in this env ('d' 2 times)" in caplog.text
    with pytest.raises(ValueError, match=r"of 1 episodes, 1 episodes with tokens .* train without the bans"):
        read(tmp_path, lines[1], banned="bad")


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir()], ids=["nothing", "empty"])
def test_no_episodes(tmp_path, make):
    make(tmp_path / "D")
    with pytest.raises(FileNotFoundError, match=r"dyngen record --episodes 1000 --out .*D makes some"):
        read_recorded(tmp_path / "D", small_env(1).unwrapped)


def test_data_of_another_vocabulary(tmp_path, tiny_model):
    """Of the header of a recording, and of the lines themselves."""
    ours = small_env(1).unwrapped
    theirs = small_env(1, tokenizer=None, model=str(tiny_model)).unwrapped
    record(ours, lambda seed: Actor(small_policy(ours), seed), [Example("a")], tmp_path / "D", {})
    for data in (tmp_path / "D", tmp_path / "D" / EPISODES):
        with pytest.raises(ValueError, match=r"vocabulary has .* train with model=.*, or give lines without `tokens`"):
            read_recorded(data, theirs)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("")
    env = small_env(1).unwrapped
    with pytest.raises(FileExistsError, match="is not empty: choose another folder"):
        record(env, lambda seed: Actor(small_policy(env), seed), [Example("a")], tmp_path, {})


def test_a_recording_keeps_the_media_that_its_tokens_name(tmp_path):
    """They are read again after everybody has let go of them, in order: the prompt's picture, then what was said."""

    def recorded():
        talks = Shows(tuple(Feedback(text, media=(tone(seed, 0.3),)) for text, seed in (("a", 71), ("b", 72))), SPEAKS)
        env = small_env(1, user=talks, max_turns=2, max_context_tokens=64, prompts=EXAMPLES[:1]).unwrapped
        policy = small_policy(env)
        attach_encoder(policy.lm, small_encoder(policy.lm, pictures=(32, 32), sounds=0.5))
        record(env, lambda seed: Actor(policy, seed), [Example("ab", media=(picture(70),))], tmp_path / "D", {})
        return env

    env = recorded()
    env.user.replies = ()
    gc.collect()
    [line] = (tmp_path / "D" / EPISODES).read_text().splitlines()
    with pytest.raises(ValueError, match="nobody holds"):
        media_of(json.loads(line)["tokens"])
    [episode] = read_recorded(tmp_path / "D", env).episodes
    shown, heard = media_of(episode.tokens.tolist())
    assert (shown, heard) == (picture(70), tone(71, 0.3)) == episode.media
    assert len(rescore(read_episodes(tmp_path / "D" / EPISODES), lambda text: 1.0).returns) == 1
