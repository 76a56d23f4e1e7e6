"""`dyngen inspect`: its numbers by an independent computation, its page with any text."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from dyngen_agents.algorithms.grpo import GRPOConfig
from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCEConfig
from dyngen_agents.cli.main import main
from dyngen_agents.inspection.inspect_run import NOBODY_ASKED, inspect_run
from dyngen_agents.inspection.page import page
from dyngen_agents.training.train import train
from dyngen_env.lm.distribution import SamplingConfig
from tests.support.envs import Somebody

NASTY = [
    "</script><script>window.pwned = 1</script>", "<!--<script>", "<img src=x onerror='window.pwned = 1'>", "&lt;b&gt;",
    "@DATA@", "`${1}`", "\u2028", '"\\',
]  # fmt: skip


def vowels(text):
    return sum(c in "aeiou" for c in text) / 4


def tokens_of(episode):
    return [token for turn in episode["turns"] if turn["role"] == "agent" for token in turn["tokens"]]


def text_of(turn):
    return "".join(text for text, control in turn["pieces"] if not control)


def keys(data):
    return [quantity["key"] for quantity in data["quantities"]]


# ---------------------------------------------------------------- numbers


def test_the_numbers_equal_an_independent_computation(tiny_config, tiny_model):
    """Against transformers' own forward in float64, one sequence at a time, and sums over the episode by hand."""
    gamma, lam, beta, penalty = 0.9, 0.8, 0.2, 0.3
    config = tiny_config(sampling=SamplingConfig(temperature=0.8), normalise_reward=True, missing_eos_penalty=penalty)
    algorithm = PPOConfig(gamma=gamma, gae_lambda=lam, kl_coef=beta, learning_rate=5e-3, minibatch_size=4)
    run = train(config, algorithm, reward=vowels)
    data = inspect_run(run, 4, reward=vowels)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert keys(data) == ["reward", "learned", "advantage", "value", "kl", "entropy", "logprob"]
    scale = json.loads((run / "run.json").read_text())["reward_scale"]
    assert scale["gain"] > 1

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    trained, untrained = (AutoModelForCausalLM.from_pretrained(m).double().eval() for m in (run, tiny_model))
    head = {k: v.double() for k, v in load_file(run / "training.safetensors").items() if k.startswith("value_head.")}
    assert head["value_head.weight"].any()
    illegal = [tokenizer.bos_token_id, tokenizer.pad_token_id]
    assert len(data["episodes"]) == 4
    for episode in data["episodes"]:
        prompt, agent = episode["turns"]
        assert (prompt["role"], agent["role"]) == ("prompt", "agent")
        start, tokens = tokenizer(text_of(prompt)).input_ids, agent["tokens"]
        ids = torch.tensor(start + [token["id"] for token in tokens])
        with torch.no_grad():
            out, ref = (lm(ids[None], output_hidden_states=True) for lm in (trained, untrained))
        values = out.hidden_states[-1][0] @ head["value_head.weight"][0] + head["value_head.bias"]
        logp, ref_logp = (o.logits[0].index_fill(1, torch.tensor(illegal), -torch.inf) / 0.8 for o in (out, ref))
        logp, ref_logp = logp.log_softmax(-1), ref_logp.log_softmax(-1)
        for t, token in enumerate(tokens):
            at, chosen = len(start) + t - 1, token["id"]
            assert token["logprob"] == pytest.approx(float(logp[at, chosen]), abs=1e-4)
            assert token["kl"] == pytest.approx(float(logp[at, chosen] - ref_logp[at, chosen]), abs=1e-4)
            assert token["value"] == pytest.approx(float(values[at]), abs=1e-4)
            legal = logp[at][logp[at].isfinite()]
            assert token["entropy"] == pytest.approx(float(-(legal.exp() * legal).sum()), abs=1e-4)
            likeliest = logp[at].argsort(descending=True).tolist()
            assert [i for i, *_ in token["top"]] == likeliest[:5]
            assert token["rank"] == likeliest.index(chosen) + 1
            for i, _, pi, pi_ref in token["top"]:
                assert pi == pytest.approx(float(logp[at, i].exp()), abs=1e-5)
                assert pi_ref == pytest.approx(float(ref_logp[at, i].exp()), abs=1e-5)

        text = tokenizer.decode([token["id"] for token in tokens], skip_special_tokens=True)
        rewards = [token["reward"] for token in tokens]
        assert sum(rewards) == episode["return"] == pytest.approx(vowels(text), abs=1e-5)
        assert not any(rewards[:-1]) and sum(episode["reward_terms"].values()) == pytest.approx(episode["return"])
        learned = [scale["gain"] * token["reward"] - beta * token["kl"] for token in tokens]
        learned[-1] += scale["bias"] - penalty * (episode["finish_reason"] != "stop")
        assert [token["learned"] for token in tokens] == pytest.approx(learned, abs=1e-4)
        deltas = [r + gamma * v - token["value"] for r, v, token in zip(
            learned, [*(token["value"] for token in tokens[1:]), 0.0], tokens, strict=True
        )]  # fmt: skip
        expected = [sum((gamma * lam) ** k * d for k, d in enumerate(deltas[t:])) for t in range(len(deltas))]
        assert [token["advantage"] for token in tokens] == pytest.approx(expected, abs=1e-3)
        assert tokens[-1]["advantage"] == pytest.approx(learned[-1] - tokens[-1]["value"], abs=1e-4)
    moved = [abs(token["kl"]) for episode in data["episodes"] for token in tokens_of(episode)]
    assert max(moved) > 0.01


def test_reinforce_has_no_values_and_its_own_advantages(tiny_config):
    run = train(tiny_config(updates=1), REINFORCEConfig(gamma=0.9, baseline="rebn"), reward=vowels)
    data = inspect_run(run, 3, reward=vowels)
    assert keys(data) == ["reward", "learned", "advantage", "kl", "entropy", "logprob"]
    assert "value" not in tokens_of(data["episodes"][0])[0] and "no critic" in data["notes"][0]
    returns, advantages = [], []
    for tokens in map(tokens_of, data["episodes"]):
        learned = [token["learned"] for token in tokens]
        returns += [sum(0.9**k * r for k, r in enumerate(learned[t:])) for t in range(len(learned))]
        advantages += [token["advantage"] for token in tokens]
    g = torch.tensor(returns, dtype=torch.float64)
    assert advantages == pytest.approx(((g - g.mean()) / g.std()).tolist(), abs=1e-3)


def test_a_run_in_groups_is_inspected_in_groups(tiny_config):
    """Three episodes asked for, groups of two: four, and each is measured against its twin."""
    run = train(tiny_config(updates=1), REINFORCEConfig(baseline="rloo", group_size=2), reward=vowels)
    episodes = inspect_run(run, 3, reward=vowels)["episodes"]
    assert len(episodes) == 4
    for first, second in ((0, 1), (1, 0), (2, 3), (3, 2)):
        mine, other = episodes[first], episodes[second]
        assert text_of(mine["turns"][0]) == text_of(other["turns"][0])
        twin = sum(token["learned"] for token in tokens_of(other))
        last = tokens_of(mine)[-1]
        assert last["advantage"] == pytest.approx(last["learned"] - twin, abs=1e-4)


@pytest.mark.parametrize("settings", [dict(reward="human('f.db')"), dict(user="page('f.db')", max_turns=2)])
def test_people_are_not_asked(tiny_config, tmp_path, settings):
    """A run that waits for them would wait here, too: nobody is there."""
    config = tiny_config(max_context_tokens=100, max_minutes=1e-9, **settings)
    data = inspect_run(train(config), 2)
    assert NOBODY_ASKED in data["notes"]
    assert {t["reward"] for episode in data["episodes"] for t in tokens_of(episode)} <= {0.0}
    assert not (tmp_path / "f.db").exists()


def test_a_run_of_grpo_shows_advantages_within_groups(tiny_config):
    """Every token of an episode has (R - mean)/(std + 1e-4) of its group, R the return less the KL penalty."""
    run = train(tiny_config(updates=1), GRPOConfig(group_size=4, kl_coef=0.1), reward=vowels)
    data = inspect_run(run, 4, reward=vowels)
    assert keys(data) == ["reward", "learned", "advantage", "kl", "entropy", "logprob"]
    returns = torch.tensor([sum(t["learned"] for t in tokens_of(e)) for e in data["episodes"]], dtype=torch.float64)
    expected = (returns - returns.mean()) / (returns.std() + 1e-4)
    for episode, advantage in zip(data["episodes"], expected.tolist(), strict=True):
        assert [t["advantage"] for t in tokens_of(episode)] == pytest.approx(
            [advantage] * len(tokens_of(episode)), abs=1e-3
        )


def test_a_group_is_inspected_with_one_user(tiny_config):
    config = tiny_config(env="dyngen/Dialogue-v0", max_context_tokens=128, max_minutes=1e-9)
    run = train(config, GRPOConfig(group_size=4), user=Somebody())
    episodes = inspect_run(run, 6, user=Somebody())["episodes"]
    said = [text_of(episode["turns"][2]) for episode in episodes]
    assert len(set(said[:4])) == len(set(said[4:])) == 1 and len(said) == 8


def test_an_untrained_run_is_its_own_reference(tiny_config):
    run = train(tiny_config(max_minutes=1e-9))
    for episode in inspect_run(run, 2)["episodes"]:
        for token in tokens_of(episode):
            assert abs(token["kl"]) < 1e-5 and token["value"] == 0
            assert all(pi == pytest.approx(ref, abs=1e-6) for _, _, pi, ref in token["top"])


def test_dialogues_with_words_and_ratings(tiny_config):
    run = train(tiny_config(env="dyngen/Dialogue-v0", max_context_tokens=128, max_minutes=1e-9))
    unread = 0
    for episode in inspect_run(run, 6)["episodes"]:
        turns = episode["turns"]
        assert [turn["role"] for turn in turns] == ["user", "agent"] * (len(turns) // 2) + ["user"] * (len(turns) % 2)
        ratings = [turn["rating"] for turn in turns[2::2]]
        assert turns[0]["rating"] is None and all(-4 <= rating <= 4 for rating in ratings)
        assert episode["reward_terms"]["rating"] == pytest.approx(sum(ratings) / 4)
        for turn, answer in zip(turns[1::2], turns[2::2], strict=True):
            paid = [token["reward"] for token in turn["tokens"]]
            happy = episode["reward_terms"]["left_happy"] if answer is turns[-1] else 0
            assert not any(paid[:-1]) and paid[-1] == pytest.approx(answer["rating"] / 4 + happy)
        assert [turn.get("unread", False) for turn in turns] == [False] * (len(turns) - 1) + [True]
        unread += len(text_of(turns[-1])) > 0
        assert all(text_of(turn).strip() for turn in turns[::2])
    assert unread == 6


def test_the_same_seed_gives_the_same_page_and_prompts_can_be_given(tiny_config):
    run = train(tiny_config(updates=1))
    data = inspect_run(run, 3, seed=1)
    assert page(inspect_run(str(run), 3, seed=1)) == page(data)
    assert inspect_run(run, 3, seed=2)["episodes"] != data["episodes"]
    given = inspect_run(run, 3, prompts=["One", "Two\n"])
    assert [text_of(episode["turns"][0]) for episode in given["episodes"]] == ["One", "Two⏎\n", "One"]
    with pytest.raises(ValueError, match="episodes is 0"):
        inspect_run(run, 0)
    with pytest.raises(ValueError, match="longer than max_context_tokens"):
        inspect_run(run, 1, prompts=["word " * 500])


# ---------------------------------------------------------------- the page


class Scripts(HTMLParser):
    """The scripts of a page, and whatever would load something."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.loads, self.open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open = tag == "script"
        if self.open:
            self.scripts.append([dict(attributes), ""])
        self.loads += [v for k, v in attributes if k in ("src", "href", "srcset", "action") and v != "data:,"]

    def handle_data(self, text):
        if self.open:
            self.scripts[-1][1] += text

    def handle_endtag(self, tag):
        self.open = False


def test_no_text_can_leave_the_data():
    data = {"episodes": NASTY, "n": 1.5}
    text = page(data)
    parsed = Scripts(text)
    assert [attributes for attributes, _ in parsed.scripts] == [{"type": "application/json", "id": "data"}, {}]
    assert json.loads(parsed.scripts[0][1]) == data
    assert parsed.loads == [] and "@import" not in text and "url(" not in text
    assert text.count("window.pwned") == 2 and "<img" not in text


def test_a_number_that_json_lacks_is_refused():
    with pytest.raises(ValueError):
        page({"reward": float("nan")})


def test_the_command(tiny_config, capsys, caplog):
    run = train(tiny_config(max_minutes=1e-9))
    assert main(["inspect", str(run), "--episodes", "2"]) == 0
    assert capsys.readouterr().out == "" and f"see {run / 'inspection.html'}" in caplog.text
    first = (run / "inspection.html").read_text(encoding="utf-8")
    assert main(["inspect", "latest", "--episodes", "2", "--json", "--out", "pages/a.html"]) == 0
    data = json.loads(capsys.readouterr().out)
    text = Path("pages/a.html").read_text(encoding="utf-8")
    assert json.loads(Scripts(text).scripts[0][1]) == data and text == first
    assert main(["inspect", str(run), "--prompt", "A", "B", "--episodes", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["episodes"]
    assert [text_of(episode["turns"][0]) for episode in shown] == ["A", "B"]


@pytest.mark.parametrize(
    "options, message", [(["nonesuch"], "no run 'nonesuch'"), (["latest", "--episodes", "0"], "episodes is 0")]
)
def test_wrong_input_is_one_message(tiny_config, capsys, options, message):
    train(tiny_config(max_minutes=1e-9))
    assert main(["inspect", *options]) == 2
    streams = capsys.readouterr()
    assert message in streams.err and streams.out == "" and "Traceback" not in streams.err
