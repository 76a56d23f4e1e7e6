"""The memory of what users say: what is written when, that acting and evaluating see the same, who it is kept for."""

import pytest
import torch

from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.feedback_memory import LABELS, FeedbackMemory, MemoryActor, Note, rating_label
from dyngen_agents.policy.reference import Reference
from dyngen_env import Feedback
from tests.support.envs import Talker
from tests.support.small import small_env, small_policy

END, USER = 258, 259
ANSWERS = (Feedback("no", -3.0), Feedback("", None), Feedback("longer words", 4.0), Feedback("bye", 1.0))


def env_of(rows=6, **options):
    settings = dict(user=Talker(ANSWERS), max_turns=4, max_new_tokens=4, max_context_tokens=60, words_in_context=False)
    return small_env(rows, **(settings | options))


def actor_of(env, **options):
    policy = small_policy(env)
    torch.nn.init.normal_(policy.read_labels(LABELS).weight, generator=torch.Generator().manual_seed(0))
    return MemoryActor(policy, 1, **(dict(note_tokens=8, kept_notes=2) | options))


def test_every_answer_becomes_a_note_that_counts_from_the_next_turn_on():
    env = env_of()
    batch = collect(env, actor_of(env), 6, seed=0)
    notes = batch.notes_of(torch.arange(6))
    # Of four answers the last is heard by nobody: the episode is over. Notes have room for 8 tokens.
    words = [b"no", b"", b"longer words"]
    expected = [[USER, *text, END][:8] for text in words]
    for row in range(6):
        found = [[i for i in note if i >= 0] for note in notes.tokens[row].tolist()]
        assert found == [*expected, [], []]  # room for two more, of earlier episodes
        assert notes.labels[row, :3].tolist() == [rating_label(r) for r in (-3.0, None, 4.0)] == [2, 0, 9]
        chosen = batch.completion_mask[row]
        turns = [p for p in range(1, 60) if chosen[p] and not chosen[p - 1]]
        assert notes.begins[row, :3].tolist() == [turn - 1 for turn in turns[1:]]


def test_words_may_be_left_out_of_the_context():
    silent, told = (
        collect(env, Actor(small_policy(env), 1), 2, seed=0)
        for env in (env_of(2, prompts=["ab"], words_in_context=words) for words in (False, True))
    )
    in_context = [
        [b"longer words" in bytes(t for t in row if 0 <= t < 256) for row in batch.tokens.tolist()]
        for batch in (silent, told)
    ]
    assert in_context == [[False, False], [True, True]]
    assert silent.dialogues[0][2]["text"] == told.dialogues[0][2]["text"] == "no"


CUTS = {
    "oldest turns": dict(context_overflow="drop_oldest", max_context_tokens=28, max_turns=6),
    "hidden drafts": dict(drafts="hidden", user=Talker((Feedback("no", -3.0, revise=True), Feedback("ok", 2.0)))),
}


@pytest.mark.parametrize("kind", CUTS)
def test_a_memory_outlives_what_the_context_forgets(kind):
    """Each token row is read with the notes that had been taken by then, as it was read in the rollout."""
    env = env_of(**CUTS[kind])
    env.unwrapped.user.drafts = 2 if kind == "hidden drafts" else 1
    actor = actor_of(env)
    torch.nn.init.normal_(actor.policy.value_head.weight, std=0.1)
    batch = collect(env, actor, 12, seed=0)
    assert sum(len(starts) > 1 for starts in batch.starts) > 5

    def evaluate(tokens, completion_mask, notes):
        return actor.policy.evaluate(tokens, completion_mask, notes=notes)

    new = batch.read(torch.arange(12), batch.tokens.shape[1], evaluate)
    torch.testing.assert_close(new.logprobs, batch.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(new.values, batch.values, atol=1e-4, rtol=1e-4)
    plain = batch.read(torch.arange(12), batch.tokens.shape[1], lambda t, m, _: actor.policy.evaluate(t, m))
    assert (plain.logprobs - batch.logprobs).abs().max() > 1e-2


def test_a_user_who_gives_more_answers_than_there_is_room_for():
    env = env_of(user=Talker((Feedback("no", -3.0, revise=True),)), max_context_tokens=120)
    with pytest.raises(ValueError, match="there is room for 5: a user who sends turns back says how often"):
        collect(env, actor_of(env), 6, seed=0)


@pytest.mark.parametrize("words_in_context", [True, False])
def test_evaluate_gives_the_logprobs_and_values_of_the_rollout(words_in_context):
    env = env_of(words_in_context=words_in_context)
    actor = actor_of(env)
    torch.nn.init.normal_(actor.policy.value_head.weight, std=0.1)
    batch = collect(env, actor, 12, seed=0)
    rows = torch.arange(12)
    new = actor.policy.evaluate(batch.tokens, batch.completion_mask, notes=batch.notes_of(rows))
    torch.testing.assert_close(new.logprobs, batch.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(new.values, batch.values, atol=1e-4, rtol=1e-4)
    plain = actor.policy.evaluate(batch.tokens, batch.completion_mask)
    differs = (plain.logprobs - batch.logprobs).abs() > 1e-3
    first_turn = batch.completion_mask.cumsum(1) <= 4
    assert differs[batch.completion_mask & ~first_turn].float().mean() > 0.5
    assert not differs[first_turn].any()
    swapped = actor.policy.evaluate(batch.tokens, batch.completion_mask, notes=batch.notes_of(rows.roll(1)))
    assert torch.isfinite(swapped.logprobs).all()


def test_the_reference_reads_the_same_notes_without_their_labels():
    env = env_of()
    actor = actor_of(env)
    torch.nn.init.zeros_(actor.policy.label_embedding.weight)
    batch = collect(env, actor, 6, seed=0)
    reference = Reference(actor.policy.lm, actor.policy.distribution)
    ours = reference.logprobs(batch.tokens, batch.completion_mask, batch.notes_of(torch.arange(6)))
    torch.testing.assert_close(ours, batch.logprobs, atol=1e-5, rtol=0)


def test_a_memory_that_is_not_written_is_the_plain_policy():
    env = env_of()
    policy = small_policy(env)
    plain = collect(env, Actor(policy, 1), 6, seed=0)
    ours = collect(env, MemoryActor(policy, 1, note_tokens=8, kept_notes=2, write=False), 6, seed=0)
    assert torch.equal(ours.tokens, plain.tokens)
    assert torch.equal(ours.logprobs, plain.logprobs)


def test_a_row_begins_with_what_is_known_of_its_user(tmp_path):
    """As the policy is told, from the first token on; by way of a file it is the same."""
    env = env_of(2)
    actor = actor_of(env)
    known = actor.remember(collect(env, actor, 2, seed=0).dialogues[0], env.tokenizer)
    assert known == FeedbackMemory("bytes", 260, 8, (Note((USER, *b"longer "), 9), Note((USER, *b"bye", END), 6)))
    talk = [
        {"role": "user", "text": "ab"},
        {"role": "agent", "text": "x"},
        {"role": "user", "text": "no", "rating": -9},
    ]
    assert actor.remember(talk, env.tokenizer, known).notes == (known.notes[1], Note((USER, *b"no", END), 1))
    known.save(tmp_path / "anna.json")
    begin_with = [FeedbackMemory.load(tmp_path / "anna.json"), None]
    assert begin_with[0] == known
    batch = collect(env, actor_of(env, begin_with=begin_with), 2, seed=0)
    assert batch.notes["begins"][0, :2].tolist() == [0, 0]
    assert (batch.notes["tokens"][:, 0, 0] >= 0).tolist() == [True, True]  # the other row has heard something since
    new = actor.policy.evaluate(batch.tokens, batch.completion_mask, notes=batch.notes_of(torch.arange(2)))
    torch.testing.assert_close(new.logprobs, batch.logprobs, atol=1e-5, rtol=0)
    plain = collect(env, actor_of(env), 2, seed=0)
    first = batch.completion_mask[0].nonzero()[0]
    assert batch.logprobs[0, first] != plain.logprobs[0, first]
    assert batch.logprobs[1, first] == plain.logprobs[1, first]


def test_memories_that_do_not_fit_say_so(tmp_path):
    env = env_of(1)
    env.reset(seed=0)
    for memory, why in (
        (FeedbackMemory("bytes", 260, 5), "notes of 5 tokens, the policy of 8: set note_tokens=5"),
        (
            FeedbackMemory("gpt2", 50257, 8),
            "50257 tokens of 'gpt2', the env has the 260 of 'bytes': use it with its own",
        ),
    ):
        with pytest.raises(ValueError, match=why):
            collect(env, actor_of(env, begin_with=[memory]), 1)
    with pytest.raises(ValueError, match="2 memories for 1 rows"):
        collect(env, actor_of(env, begin_with=[None, None]), 1)
    (tmp_path / "broken").write_text('{"notes": 3}')
    with pytest.raises(ValueError, match="broken holds no memory of a user"):
        FeedbackMemory.load(tmp_path / "broken")
    with pytest.raises(FileNotFoundError, match="no memory in"):
        FeedbackMemory.load(tmp_path / "nothing")
