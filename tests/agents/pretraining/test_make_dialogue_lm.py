"""The dialogues that dialogue-lm reads: whose tokens are learned, and that later turns do what was asked for."""

import numpy as np

from dyngen_agents.pretraining.make_dialogue_lm import IGNORED, Recipe, batches, dialogues
from dyngen_env.lm.loading.models import load_tokenizer
from dyngen_env.text.huggingface import adapted
from dyngen_env.text.tokenizer import decode
from dyngen_env.users import SimulatedUser

TOKENIZER = adapted(load_tokenizer("reviews-lm"))
BOS, USER, ASSISTANT, END = (
    TOKENIZER.hf.convert_tokens_to_ids(t) for t in ("<|bos|>", "<|user|>", "<|assistant|>", "<|end|>")
)
RECIPE = Recipe(dialogues=12, pieces=3000)


def turns_of(ids, labels):
    """The agent's turns, each a list of ids without its end."""
    turns, turn = [], []
    for token, label in zip(ids, labels, strict=True):
        assert label in (IGNORED, token)
        if label == END:
            turns.append(turn)
            turn = []
        elif label != IGNORED:
            turn.append(token)
    assert turn == []
    return turns


def test_the_agents_turns_are_learned_and_the_later_ones_please():
    user = SimulatedUser()
    made = list(dialogues("tune", RECIPE, TOKENIZER))
    assert len(made) == 12
    later = 0
    for number, (ids, labels) in enumerate(made):
        assert ids[:2] == [BOS, USER] and ids.count(ASSISTANT) == len(turns_of(ids, labels)) <= 4
        (name,) = user.begin([None], [np.random.default_rng([RECIPE.seed, number, 0])])[0].wants
        for turn in turns_of(ids, labels)[1:]:
            assert len(turn) < RECIPE.max_new_tokens
            assert user.population.preferences[name].fit(decode(TOKENIZER, turn)) > 0.5
            later += 1
    assert later > 5


def test_batches_hold_every_dialogue_once_padded_where_nothing_is_learned():
    made = list(dialogues("tune", RECIPE, TOKENIZER))
    rows = [row for ids, labels in batches(made, RECIPE) for row in zip(ids, labels, strict=True)]
    learned = sorted(int((labels != IGNORED).sum()) for _, labels in rows)
    assert learned == sorted(sum(label != IGNORED for label in labels) for _, labels in made)
    assert all(ids.numel() <= RECIPE.batch_tokens for ids, _ in batches(made, RECIPE))
