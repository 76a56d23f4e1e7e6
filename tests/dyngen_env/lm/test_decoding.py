"""Greedy, sampled and beam-searched texts against brute force."""

import itertools

import pytest
import torch

from dyngen_env.lm.decoding import beam_search, decode_rows, generate
from dyngen_env.lm.distribution import PLAIN, TokenDistribution
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.mdp.dynamics import Rules, initial
from dyngen_env.mdp.state import LIVE, STOP
from tests.support.tiny_models import VOCABULARY, tiny_model

END = 5


class Letters:
    """A tokenizer of letters, one a token; token 5 ends a text."""

    name, end_ids, control_ids = "letters", frozenset({END}), frozenset({END})
    token_bytes = tuple(b"" if i == END else bytes([33 + i]) for i in range(VOCABULARY - 7))

    def __len__(self):
        return len(self.token_bytes)  # narrower than the model's head

    def encode(self, text):
        return [b - 33 for b in text.encode()]

    encode_prompt = encode_opening = encode

    def encode_reply(self, text, last):
        return self.encode(text)


def rules(width, budget):
    outcome = torch.full((1, width), LIVE)
    outcome[0, END] = STOP
    return Rules(outcome, torch.zeros(1, width, dtype=torch.long), budget)


def first(width):
    """The distribution over the first tokens of a head that is wider."""
    return TokenDistribution(torch.ones(width, dtype=torch.bool))


def start(prompt, room):
    tokens = torch.full((1, len(prompt) + room), -1)
    tokens[0, : len(prompt)] = torch.tensor(prompt)
    return initial(tokens, torch.tensor([len(prompt)]))


def logp(model, ids, width):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1, :width].log_softmax(-1)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_greedy_takes_the_most_likely_token_each_time(architecture):
    model = tiny_model(architecture)
    state = decode_rows(Engine(model), start([1, 2, 3], 8), rules(VOCABULARY, 8), PLAIN, seed=None)
    ids = [1, 2, 3]
    while len(ids) < 11 and ids[-1] != END:
        ids.append(int(logp(model, ids, VOCABULARY).argmax()))
    assert state.tokens[0, : int(state.length[0])].tolist() == ids


def sequence_scores(model, prompt, width, budget):
    """Per-token log-probs (width**budget, budget) of every sequence, by one forward over all of them."""
    sequences = torch.tensor(list(itertools.product(range(width), repeat=budget)))
    whole = torch.cat([torch.tensor(prompt).expand(len(sequences), -1), sequences], dim=1)
    with torch.no_grad():
        logp = model(input_ids=whole).logits[:, len(prompt) - 1 : -1, :width].log_softmax(-1)
    return sequences, logp.gather(2, sequences.unsqueeze(2)).squeeze(2)


def test_a_beam_as_wide_as_the_tree_finds_the_best_sequences():
    width, budget = 4, 3
    model = tiny_model("gpt2", seed=3)
    end_never = Rules(torch.full((1, width), LIVE), torch.zeros(1, width, dtype=torch.long), budget)
    state = beam_search(Engine(model), start([1, 2], budget), end_never, first(width), num_beams=width**budget)
    sequences, scores = sequence_scores(model, [1, 2], width, budget)
    ranked = sequences[scores.sum(1).argsort(descending=True)]
    assert torch.equal(state.tokens[:5, 2:5], ranked[:5])


def test_ended_beams_are_kept_and_scored_by_their_own_length():
    width, budget = 6, 3
    model = tiny_model("gpt2", seed=1)
    state = beam_search(
        Engine(model), start([1, 2], budget), rules(width, budget), first(width), num_beams=width**budget
    )
    sequences, scores = sequence_scores(model, [1, 2], width, budget)
    mean = {}
    for ids, logprobs in zip(sequences.tolist(), scores.tolist(), strict=True):
        length = ids.index(END) + 1 if END in ids else budget
        mean[tuple(ids[:length])] = sum(logprobs[:length]) / length
    ranked = sorted(mean, key=mean.get, reverse=True)
    found = [tuple(t[2:n].tolist()) for t, n in zip(state.tokens, state.length, strict=True)]
    assert found[:3] == ranked[:3]


def test_one_beam_is_greedy():
    model = tiny_model("qwen2")
    greedy = decode_rows(Engine(model), start([7, 8], 10), rules(VOCABULARY, 10), PLAIN, seed=None)
    beam = beam_search(Engine(model), start([7, 8], 10), rules(VOCABULARY, 10), PLAIN, num_beams=1)
    assert torch.equal(greedy.tokens, beam.tokens)


def test_generate_gives_n_texts_a_prompt_and_repeats_with_the_seed():
    model, tokenizer = tiny_model("gpt2"), Letters()
    first = generate(model, tokenizer, ["abc", "de"], n=3, seed=1, max_new_tokens=6)
    assert [len(texts) for texts in first] == [3, 3]
    assert first == generate(model, tokenizer, ["abc", "de"], n=3, seed=1, max_new_tokens=6)
    assert first != generate(model, tokenizer, ["abc", "de"], n=3, seed=2, max_new_tokens=6)
    assert all(len(text) <= 6 for texts in first for text in texts)
    beams = generate(model, tokenizer, ["abc"], decode="beam", num_beams=5, n=2, max_new_tokens=6)
    assert len(set(beams[0])) == 2


def test_a_stop_string_cuts_the_text():
    model, tokenizer = tiny_model("gpt2"), Letters()
    [[whole]] = generate(model, tokenizer, ["abc"], decode="greedy", max_new_tokens=12)
    stop = whole[4:6]
    [[cut]] = generate(model, tokenizer, ["abc"], decode="greedy", max_new_tokens=12, stop=stop)
    assert cut == whole[: whole.index(stop)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(decode="nucleus"), "decode='nucleus': expected one of 'greedy', 'beam', 'sample'"),
        (dict(decode="greedy", n=2), "greedy has one"),
        (dict(decode="beam", n=5, num_beams=2), "at most num_beams=2"),
        (dict(max_new_tokens=100), "exceeds the model's context of 64"),
        (dict(stop=""), "stop strings must be non-empty"),
        (dict(temperature=-1), "temperature is -1, expected a number from"),
        (dict(temperature=float("nan"), decode="greedy"), "temperature is nan, expected a number from"),
        (dict(top_p=0.0), "top_p is 0.0, expected a number above 0"),
        (dict(top_p=0.0, decode="beam"), "top_p is 0.0, expected a number above 0"),
        (dict(top_k=-5), "top_k is -5, expected an integer"),
        (dict(max_new_tokens=0), "max_new_tokens must be an integer of at least 1, got 0"),
        (dict(max_new_tokens=-3), "max_new_tokens must be an integer of at least 1, got -3"),
        (dict(max_new_tokens=2.5), "max_new_tokens must be an integer of at least 1, got 2.5"),
        (dict(num_beams=0, decode="beam"), "num_beams must be an integer of at least 1, got 0"),
        (dict(n=0), "n must be an integer of at least 1, got 0"),
        (dict(n=True), "n must be an integer of at least 1, got True"),
        (dict(prompts=[]), r"prompts=\[\]: expected a list of at least one text"),
        (dict(prompts="abc"), "prompts='abc': expected a list of at least one text"),
        (dict(banned=[""]), "expected words, or the path"),
    ],
)
def test_bad_requests_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(tiny_model("gpt2"), Letters(), **(dict(prompts=["abc"]) | arguments))


@pytest.mark.parametrize("n", [dict(greedy=1), dict(beam=8), dict(sample=8)], ids=str)
def test_no_decoding_writes_a_banned_word(n):
    ((decode, count),) = n.items()
    model, prompts = tiny_model("gpt2"), ["abc", "de", "xyz", "0", "uvwx"]
    settings = dict(decode=decode, n=count, num_beams=8, max_new_tokens=12)
    free = generate(model, Letters(), prompts, **settings)
    marks = sorted({c for texts in free for text in texts for c in text if not (c.isalnum() or c == "_")})
    assert marks
    kept = generate(model, Letters(), prompts, **settings, banned=marks)
    assert [len(texts) for texts in kept] == [count] * 5
    assert not [text for texts in kept for text in texts if set(text) & set(marks)]


def test_a_beam_wider_than_the_texts_there_are_repeats_the_best():
    """Two tokens are legal and one is written: there are two texts for four beams."""
    width = 3
    legal = torch.tensor([False, True, True])
    never = Rules(torch.full((1, width), LIVE), torch.zeros(1, width, dtype=torch.long), 1)
    state = beam_search(Engine(tiny_model("gpt2")), start([1, 2], 1), never, TokenDistribution(legal), num_beams=4)
    written = state.tokens[:, 2].tolist()
    assert sorted(written[:2]) == [1, 2] and written[2:] == [written[0]] * 2


def test_temperature_zero_is_greedy():
    model, tokenizer = tiny_model("gpt2"), Letters()
    [[greedy]] = generate(model, tokenizer, ["abc"], decode="greedy", max_new_tokens=12)
    assert generate(model, tokenizer, ["abc"], temperature=0.0, max_new_tokens=12) == [[greedy]]
    with pytest.raises(ValueError, match="greedy has one"):
        generate(model, tokenizer, ["abc"], temperature=0, n=2)
