"""Evaluation: its figures by an independent computation, and the fairness of the comparison."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from dyngen_agents.data.episodes import EPISODES, read_episodes
from dyngen_agents.data.rollout import collect
from dyngen_agents.evaluation.evaluate import evaluate, measure, ratings_of
from dyngen_agents.evaluation.rescore import rescore
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.environment import draw_examples, make_env, prompt_split
from dyngen_agents.training.train import train
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.lm.loading.models import load_model
from tests.support.bans import WORDS, banned_in

FIGURES = {
    "reward_mean", "reward_ci95", "reward_terms", "vader", "kl_per_episode", "kl_per_episode_ci95", "kl_per_token",
    "distinct_1", "distinct_2", "length_mean", "perplexity_ref",
}  # fmt: skip


def test_a_run_without_updates_equals_the_untrained_model(tiny_config):
    run = train(tiny_config(max_minutes=1e-9))
    result = evaluate(run, episodes=20)
    assert set(result) == {"trained", "untrained"}
    gain = {name: result["trained"].pop(name) for name in ("reward_gain", "reward_gain_ci95")}
    assert gain == {"reward_gain": 0.0, "reward_gain_ci95": 0.0}
    assert set(result["trained"]) == FIGURES
    assert result["trained"] == result["untrained"]
    assert abs(result["untrained"]["kl_per_token"]) < 1e-5
    assert result["untrained"]["perplexity_ref"] > 1


def test_what_was_played_is_recorded_and_can_be_rescored(tiny_config):
    run = train(tiny_config(updates=1))
    result = evaluate(run, episodes=12)
    episodes = read_episodes(run / EPISODES)
    assert [e.policy for e in episodes] == ["trained"] * 12 + ["untrained"] * 12
    again = rescore(episodes, "sentiment", model=episodes[0].tokens.model).returns.reshape(2, 12).mean(1)
    assert again == pytest.approx([result[name]["reward_mean"] for name in ("trained", "untrained")], abs=1e-6)


def test_a_run_whose_folder_cannot_be_written_is_evaluated(tiny_config, caplog):
    run = train(tiny_config(max_minutes=1e-9))
    (run / EPISODES).mkdir()
    assert evaluate(run, episodes=4)
    assert "episodes.jsonl was not written" in caplog.text


def test_evaluation_repeats_and_its_seed_matters(tiny_config):
    run = train(tiny_config(updates=1))
    assert evaluate(run, episodes=12, seed=3) == evaluate(str(run), episodes=12, seed=3)
    assert evaluate(run, episodes=12, seed=3) != evaluate(run, episodes=12, seed=4)


def test_neither_model_writes_a_banned_word(tiny_config, monkeypatch):
    """In the evaluation, and in the samples that training leaves."""
    played = []

    def recorded(*args, **kwargs):
        played.append(collect(*args, **kwargs))
        return played[-1]

    for module in ("evaluate", "samples"):
        monkeypatch.setattr(f"dyngen_agents.evaluation.{module}.collect", recorded)
    run = train(tiny_config(updates=1, banned=WORDS, max_new_tokens=12))
    evaluate(run, episodes=20)
    assert [len(batch) for batch in played] == [6, 6, 20, 20]
    for batch in played:
        assert "illegal" not in batch.finish_reasons
        assert not banned_in(batch.texts, batch.prompts)


def test_figures_equal_an_independent_computation(tiny_config):
    """Against transformers' own forward, one sequence at a time, in float64."""
    config = tiny_config(sampling=SamplingConfig(temperature=0.8))
    env = make_env(config, 8, "eval")
    untrained = load_model(config.model)
    trained = load_model(config.model, fresh=True)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    policy = CausalLMPolicy(trained, env.token_distribution(config.sampling))
    batch = collect(env, Actor(policy, 0), 8, examples=draw_examples(env, 8, 0))
    figures = measure(batch, Reference(untrained, policy.distribution))

    illegal = ~env.legal_tokens()
    kl, nll, tokens = 0.0, 0.0, 0
    for row in range(8):
        ids = batch.tokens[row][batch.tokens[row] >= 0]
        with torch.no_grad():
            scores = [lm(ids[None]).logits[0].double().masked_fill(illegal, -torch.inf) for lm in (trained, untrained)]
        for at in batch.completion_mask[row].nonzero().flatten().tolist():
            pi, ref = ((s[at - 1] / 0.8).log_softmax(-1)[ids[at]].item() for s in scores)
            kl, tokens = kl + pi - ref, tokens + 1
            nll -= scores[1][at - 1].log_softmax(-1)[ids[at]].item()
    scored = [SentimentIntensityAnalyzer().polarity_scores(text)["compound"] for text in batch.texts]
    assert figures["kl_per_token"] == pytest.approx(kl / tokens, abs=1e-5)
    assert figures["perplexity_ref"] == pytest.approx(math.exp(nll / tokens), rel=1e-4)
    assert figures["length_mean"] == tokens / 8
    assert figures["vader"] == pytest.approx(np.mean(scored))
    assert figures["reward_mean"] == pytest.approx(np.mean(scored), abs=1e-6)
    assert figures["reward_ci95"] == pytest.approx(1.96 * np.std(scored, ddof=1) / math.sqrt(8), abs=1e-6)
    assert figures["reward_terms"] == {"sentiment": pytest.approx(np.mean(scored), abs=1e-6), "illegal": 0}


def test_examples_are_held_out_and_drawn_without_repeats(tiny_config, prompts_file):
    seen = {split: make_env(tiny_config(), 2, split).task.examples for split in ("train", "eval")}
    assert not set(seen["train"]) & set(seen["eval"])
    env = make_env(tiny_config(), 2, "eval")
    count = len(seen["eval"])
    drawn = draw_examples(env, 2 * count, seed=0)
    assert set(drawn[:count]) == set(drawn[count:]) == set(seen["eval"])


def test_too_few_prompts_to_hold_some_out(tmp_path, caplog):
    path = tmp_path / "few.txt"
    path.write_text("One film\n")
    assert prompt_split(str(path), "train") is None
    assert not caplog.records
    assert prompt_split(str(path), "eval") is None
    assert "1 prompts are too few" in caplog.text


def test_one_episode_has_no_spread(tiny_config):
    with pytest.raises(ValueError, match="episodes is 1"):
        evaluate("latest", episodes=1)


def talk(*ratings):
    turns = [{"role": "user", "text": "The film"}]
    for rating in ratings:
        turns += [{"role": "agent", "text": "so so"}, {"role": "user", "text": "hm", "rating": rating}]
    return turns


def test_ratings_by_turn_by_hand():
    batch = SimpleNamespace(dialogues=[talk(-1, 2), talk(1, -2, 4), talk(3), None])
    figures = ratings_of(batch)
    assert figures["rating_by_turn"] == [1.0, 0.0, 4.0]
    # Dialogues with a second turn have the means 2 and 1 there: mean 1.5, deviation √½.
    assert figures["rating_later"] == 1.5 and math.isclose(figures["rating_later_ci95"], 1.96 * 0.5)
    assert ratings_of(SimpleNamespace(dialogues=[None, talk(-1, 2)])) == {}
    unrated = ratings_of(SimpleNamespace(dialogues=[talk(None, None, 4), talk(3, None), talk(None, None, 2)]))
    assert unrated["rating_by_turn"] == [3.0, None, 3.0] and unrated["rating_later"] == 3.0


def test_dialogues_are_rated_and_shown(tiny_config):
    run = train(tiny_config(env="dyngen/Dialogue-v0", user="simulated", max_turns=2, max_context_tokens=96, updates=1,
                            max_new_tokens=4, reward="rating", prompts=None))  # fmt: skip
    figures = evaluate(run, episodes=8)["trained"]
    gained = {"reward_gain", "reward_gain_ci95"}
    assert set(figures) == FIGURES | gained | {"rating_by_turn", "rating_later", "rating_later_ci95"}
    assert len(figures["rating_by_turn"]) == 2 and all(-4 <= rating <= 4 for rating in figures["rating_by_turn"])
    assert re.search(r"\[[+-]\d: .+\]", (run / "samples.md").read_text())


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_reward_whose_scale_moves_is_neither_trained_on_nor_evaluated(tiny_config, split):
    """By its own figures every policy would earn about 0."""
    with pytest.raises(ValueError, match=r"fits its scale anew .*--normalise-reward"):
        make_env(tiny_config(reward="normalised(sentiment)"), 2, split)
    make_env(tiny_config(reward="normalised(sentiment, 0.1, 0.4)"), 2, split)
