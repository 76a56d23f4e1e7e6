"""TRL's GRPOTrainer learns in our environments: by `rollout_func` and by `environment_factory`.

What needs TRL is skipped without it (`make test-trl` makes an environment in which it is there).
"""

from __future__ import annotations

import builtins
import inspect
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import dyngen_env  # noqa: F401  registers the ids
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.trl import EnvRollout, TextEnvironment, env_reward, prompt_dataset
from dyngen_env import Feedback, TextGenEnv
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.text.tokenizer import decode
from tests.support.bans import PROMPTS as PROMPTS_WITHOUT
from tests.support.bans import WORDS, banned_in
from tests.support.envs import SMALL, Somebody, Talker, byte_level, single, write
from tests.support.media import EXAMPLES

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

DIALOGUE = dict(
    prompts=["The film is", "A happy", "We hate"],
    user=Talker((Feedback("good"), Feedback("the story is bad"))),
    reward="length(3) - 0.5*repetition(1)",
    max_turns=3,
    max_new_tokens=4,
    max_context_tokens=96,
)


def env_of(folder, num_envs=4, **options):
    options = DIALOGUE | dict(output="torch", autoreset_mode="same_step") | options
    return gym.make_vec("dyngen/Generate-v0", num_envs=num_envs, model=str(folder), **options)


def stand_in(model, **changes):
    """What `EnvRollout` asks of a GRPOTrainer."""
    accelerator = SimpleNamespace(unwrap_model=lambda model: model, process_index=0)
    args = SimpleNamespace(seed=3, generation_kwargs=None)
    sampling = dict(temperature=0.7, top_k=0, top_p=1.0, min_p=None, repetition_penalty=1.0)
    return SimpleNamespace(model=model, accelerator=accelerator, args=args, **(sampling | changes))


PROMPTS = ["The film is", "The film is", "A happy", "A happy", "We hate"]  # more than the env has rows


# ---------------------------------------------------------------- rollout_func, without TRL


@pytest.fixture
def played(tiny_model):
    """A rollout of five dialogues; beside it the model and the env."""
    model, env = load_model(str(tiny_model), fresh=True), env_of(tiny_model)
    return EnvRollout(env)(PROMPTS, stand_in(model)), model, env


def test_completions_of_a_prompt_are_answered_by_one_user(tiny_model):
    """TRL passes a prompt once for each completion of its group; in the next call it is somebody else."""
    model, env = load_model(str(tiny_model), fresh=True), env_of(tiny_model, user=Somebody(), max_turns=2)
    rollout, heard = EnvRollout(env), []
    for _ in range(4):
        out = rollout(PROMPTS, stand_in(model))
        played = zip(out["completion_ids"], out["env_mask"], strict=True)
        said = [[token for token, mine in zip(ids, mask, strict=True) if not mine] for ids, mask in played]
        heard.append(["".join(c for c in decode(env.unwrapped.tokenizer, ids) if c.isdigit()) for ids in said])
    assert all(a == b and c == d and len(a) == 2 for a, b, c, d, _ in heard)
    assert len({tuple(said) for said in heard}) == 4 and any(said[0] != said[2] for said in heard)


def test_the_lists_fit_together(played):
    out, _, env = played
    assert {len(entry) for entry in out.values()} == {len(PROMPTS)}
    for i, prompt in enumerate(PROMPTS):
        assert out["prompt_ids"][i] == env.unwrapped.tokenizer.encode_opening(prompt)
        assert len(out["completion_ids"][i]) == len(out["env_mask"][i]) == len(out["logprobs"][i])
        assert out["env_mask"][i][0] == out["env_mask"][i][-1] == 1  # from the agent's first token to its last


def test_exactly_what_the_user_said_is_masked(played, tiny_model):
    """Three turns of at most four tokens; between them the tokenizer's own words for the user's two answers."""
    out, _, env = played
    tokenizer = env.unwrapped.tokenizer
    for ids, mask in zip(out["completion_ids"], out["env_mask"], strict=True):
        ids, mask = np.array(ids), np.array(mask)
        assert mask.sum() <= 12
        borders = np.flatnonzero(np.diff(mask) < 0)  # the agent's last token of each turn but the last
        heard = [tokenizer.encode_reply(text, ids[at]) for text, at in zip(("good", "the story is bad"), borders)]  # noqa: B905
        np.testing.assert_array_equal(ids[mask == 0], np.concatenate(heard))


def test_the_softmax_of_trls_loss_is_what_was_drawn_from(played):
    """TRL divides the model's logits by the temperature and takes the softmax over all of them, and their entropy."""
    out, model, _ = played
    for prompt, completion, mask, logprobs in zip(
        out["prompt_ids"], out["completion_ids"], out["env_mask"], out["logprobs"], strict=True
    ):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / 0.7
        theirs = logits.log_softmax(-1)
        entropy = -(theirs.exp() * theirs).sum(-1)
        chosen = theirs.gather(1, torch.tensor(completion)[:, None])[:, 0]
        mine = torch.tensor(mask, dtype=torch.bool)
        torch.testing.assert_close(chosen[mine], torch.tensor(logprobs)[mine], atol=1e-4, rtol=0)
        assert entropy.isfinite().all() and (entropy > 0).all()


def test_log_probs_are_those_of_the_model_by_itself(played):
    """Of whole sequences, uncached, at the trainer's temperature and over the env's legal tokens."""
    out, model, env = played
    legal = env.unwrapped.legal_tokens()
    for prompt, completion, mask, logprobs in zip(
        out["prompt_ids"], out["completion_ids"], out["env_mask"], out["logprobs"], strict=True
    ):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / 0.7
        expected = logits[:, : len(legal)].masked_fill(~legal, -torch.inf).log_softmax(-1)
        expected = expected.gather(1, torch.tensor(completion)[:, None])[:, 0] * torch.tensor(mask)
        torch.testing.assert_close(torch.tensor(logprobs), expected.nan_to_num(), atol=1e-5, rtol=0)


def test_no_rollout_writes_a_banned_word(tiny_model):
    env = env_of(tiny_model, user=None, prompts=PROMPTS_WITHOUT, banned=WORDS, max_new_tokens=12, reward="length")
    model = load_model(str(tiny_model), fresh=True)
    prompts = PROMPTS_WITHOUT * 8
    out = EnvRollout(env)(prompts, stand_in(model))
    assert "illegal" not in out["finish_reason"]
    texts = [decode(env.unwrapped.tokenizer, ids) for ids in out["completion_ids"]]
    assert not banned_in(texts, prompts)
    policy = CausalLMPolicy(model, env.unwrapped.token_distribution(SamplingConfig(temperature=0.7)))
    for prompt, completion, logprobs in zip(out["prompt_ids"], out["completion_ids"], out["logprobs"], strict=True):
        chosen = torch.arange(len(prompt) + len(completion)) >= len(prompt)
        with torch.no_grad():
            expected = policy.evaluate(torch.tensor([prompt + completion]), chosen[None]).logprobs[0, len(prompt) :]
        torch.testing.assert_close(torch.tensor(logprobs), expected, atol=1e-5, rtol=0)


def test_a_greedy_trainer_is_refused(tiny_model):
    with pytest.raises(ValueError, match="temperature is 0, which is greedy"):
        EnvRollout(env_of(tiny_model))(PROMPTS, stand_in(load_model(str(tiny_model), fresh=True), temperature=0.0))


def test_rewards_are_what_a_single_env_pays_for_the_same_tokens(played, tiny_model):
    out, _, _ = played
    env = TextGenEnv(model=str(tiny_model), **DIALOGUE)
    for i, prompt in enumerate(PROMPTS):
        env.reset(options={"prompt": prompt})
        chosen = [t for t, m in zip(out["completion_ids"][i], out["env_mask"][i], strict=True) if m]
        steps = [env.step(token) for token in chosen]
        assert steps[-1][2] or steps[-1][3]
        assert out["env_reward"][i] == pytest.approx(sum(step[1] for step in steps), abs=1e-5)
        assert out["finish_reason"][i] == steps[-1][4]["finish_reason"]
        assert sum(out["reward_terms"][i].values()) == pytest.approx(out["env_reward"][i], abs=1e-5)


def test_groups_differ_and_runs_repeat(tiny_model):
    def rollouts():
        rollout, trainer = EnvRollout(env_of(tiny_model)), stand_in(load_model(str(tiny_model), fresh=True))
        return [rollout(PROMPTS, trainer)["completion_ids"] for _ in range(2)]

    first, second = rollouts()
    assert first[0] != first[1] and first != second  # two of a group, two rollouts
    assert rollouts() == [first, second]


def test_the_model_is_handed_back_in_the_mode_it_came_in(tiny_model):
    model, rollout = load_model(str(tiny_model), fresh=True), EnvRollout(env_of(tiny_model))
    for mode in (True, False):
        model.train(mode)
        rollout(PROMPTS, stand_in(model))
        assert all(module.training is mode for module in model.modules())


def test_prompts_may_be_messages(tiny_model):
    model, env = load_model(str(tiny_model), fresh=True), env_of(tiny_model)
    out = EnvRollout(env)([[{"role": "user", "content": "We hate"}]], stand_in(model))
    assert out["prompt_ids"] == [env.unwrapped.tokenizer.encode_opening("We hate")]
    with pytest.raises(ValueError, match="one message of the user's"):
        EnvRollout(env)([[{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]], stand_in(model))


@pytest.mark.parametrize("changes", [{"min_p": 0.1}, {"repetition_penalty": 1.2}])
def test_sampling_that_it_cannot_follow_is_refused(tiny_model, changes):
    with pytest.raises(ValueError, match=f"{next(iter(changes))} of the GRPOConfig"):
        EnvRollout(env_of(tiny_model))(PROMPTS, stand_in(load_model(str(tiny_model)), **changes))


def test_envs_that_it_cannot_play_are_refused(tiny_model):
    with pytest.raises(ValueError, match=r"gym\.make_vec"):
        EnvRollout(single())
    with pytest.raises(ValueError, match="TRL's trainer reads words alone"):
        EnvRollout(env_of(tiny_model, prompts=EXAMPLES))
    with pytest.raises(ValueError, match='output="torch"'):
        EnvRollout(env_of(tiny_model, output="numpy"))(PROMPTS, stand_in(load_model(str(tiny_model))))
    with pytest.raises(ValueError, match="give both the same model"):
        EnvRollout(env_of("reviews-lm"))(PROMPTS, stand_in(load_model(str(tiny_model))))


def test_the_reward_function_hands_over_the_returns_and_logs_their_parts():
    logged = {}
    terms = [{"length": 0.5, "repetition": -0.25}, {"length": 1.0, "repetition": 0.0}]
    assert env_reward([0.25, 1.0], terms, log_metric=logged.__setitem__, prompts=["a", "b"]) == [0.25, 1.0]
    assert logged == {"env/length": 0.75, "env/repetition": -0.125}


def test_a_missing_trl_is_named(monkeypatch):
    found = builtins.__import__

    def without_datasets(name, *args, **kwargs):
        if name == "datasets":
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_datasets)
    with pytest.raises(ImportError, match="pip install 'trl"):
        prompt_dataset(single(), 2)


# ---------------------------------------------------------------- environment_factory, without TRL


TALK = SMALL | dict(
    user=Talker((Feedback("ok"), Feedback("and?"))), max_turns=3, max_new_tokens=8, max_context_tokens=96
)


def talk(**options):
    return TextEnvironment("dyngen/Generate-v0", **(TALK | options))


def test_the_only_tool_is_say_and_it_is_documented_as_tools_are():
    """TRL's rule: every public method is a tool, but for `reset` and `get_reward`."""
    methods = {name for name, _ in inspect.getmembers(talk(), inspect.ismethod) if not name.startswith("_")}
    assert methods == {"reset", "get_reward", "say"}
    schema = pytest.importorskip("transformers.utils").get_json_schema(talk().say)["function"]
    assert schema["parameters"]["required"] == ["text"] and "user" in schema["description"]


def test_a_dialogue_pays_what_its_steps_pay():
    played, by_hand = talk(), single(**TALK)
    assert played.reset(prompt=[{"role": "user", "content": "xyz"}], seed=5) is None
    by_hand.reset(seed=5, options={"prompt": "xyz"})
    answers, paid = [], 0.0
    for text in ("hi", "nononono", "end"):  # the second uses up the turn's eight tokens
        answers.append(played.say(text))
        for token in [*text.encode(), 257][:8]:
            _, reward, over, _, _ = by_hand.step(token)
            paid += reward
    assert over and answers == ["ok", "and?", "and?\nThe conversation is over."]
    assert played.get_reward() == pytest.approx(paid) != 0
    with pytest.raises(ValueError, match="conversation is over"):
        played.say("more")


def test_an_env_without_a_user_ends_after_one_say():
    env = talk(user=None)
    env.reset(prompt="xyz")
    assert env.say("abc") == "The conversation is over."
    by_hand = single(**(TALK | {"user": None}))
    by_hand.reset(options={"prompt": "xyz"})
    assert env.get_reward() == pytest.approx(write(by_hand, "abc", 257)[1])


def test_environments_of_a_group_meet_the_same_user_without_a_seed():
    group = [talk(user=Somebody(), max_turns=9) for _ in range(3)]
    heard = []
    for _ in range(4):
        for env in group:
            env.reset(prompt="xyz")
        answers = {env.say("hi") for env in group}
        assert len(answers) == 1
        heard += answers
    assert len(set(heard)) > 1


def test_without_a_prompt_the_env_draws_one_and_the_seed_says_which():
    env = talk()
    drawn = [env.reset(prompt=[{"role": "user", "content": ""}], seed=seed) for seed in (1, 2, 3, 1, 2, 3)]
    assert drawn[:3] == drawn[3:] and set(drawn) <= set(SMALL["prompts"]) and len(set(drawn)) > 1


def test_silence_is_paid_for():
    env = talk()
    env.reset(seed=0)
    assert env.get_reward() == -1.0
    env = talk(silence_reward=-0.5)
    env.reset(seed=0)
    assert env.get_reward() == -0.5


def test_envs_that_cannot_talk_are_refused():
    with pytest.raises(ValueError, match="expected an env of dyngen"):
        TextEnvironment("CartPole-v1")


# ---------------------------------------------------------------- with TRL


@pytest.fixture
def trl():
    return pytest.importorskip("trl", reason="needs TRL: make test-trl, or pip install 'trl>=1.10,<2'")


def config(trl, folder, **options):
    settings = dict(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", save_strategy="no", logging_steps=1,
        per_device_train_batch_size=8, num_generations=4, max_steps=2, learning_rate=1e-3, disable_tqdm=True,
        gradient_checkpointing=False, seed=1,
    )  # fmt: skip
    return trl.GRPOConfig(**(settings | options))


def recording(trl):
    """GRPOTrainer, keeping what each loss was made of."""

    class Recording(trl.GRPOTrainer):
        def _compute_loss(self, model, inputs):
            logprobs, _, _ = self._get_per_token_logps_and_entropies(
                model, torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
                torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1), inputs["completion_ids"].shape[1],
            )  # fmt: skip
            self.seen = [*getattr(self, "seen", []), inputs | {"logprobs": logprobs.detach()}]
            return super()._compute_loss(model, inputs)

    return Recording


def trainer_of(trl, tiny_model, env, folder, options=None, **more):
    """A GRPOTrainer whose rollouts the env plays."""
    return recording(trl)(
        load_model(str(tiny_model), fresh=True),
        reward_funcs=env_reward,
        args=config(trl, folder, **options or {}),
        train_dataset=prompt_dataset(env, 12),
        processing_class=load_tokenizer(str(tiny_model)),
        rollout_func=EnvRollout(env),
        **more,
    )


def flat(parameters) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in parameters])


def assert_on_policy(inputs) -> None:
    """Our log-probs and TRL's are over the legal tokens; over all they would be 0.01 apart."""
    chosen = inputs["tool_mask"].bool() & inputs["completion_mask"].bool()
    difference = (inputs["sampling_per_token_logps"] - inputs["logprobs"])[chosen]
    assert difference.abs().max() < 1e-3


def test_grpo_learns_from_the_tokens_that_were_played(trl, tiny_model, tmp_path):
    env = env_of(tiny_model, num_envs=8)
    trainer = trainer_of(trl, tiny_model, env, tmp_path)
    before = flat(trainer.model.parameters())
    trainer.train()
    assert len(trainer.seen) == 2
    inputs = trainer.seen[0]
    prompts = [
        tuple(ids[mask.bool()].tolist()) for ids, mask in zip(inputs["prompt_ids"], inputs["prompt_mask"], strict=True)
    ]
    tokenizer = env.unwrapped.tokenizer
    assert set(prompts) <= {tuple(tokenizer.encode_opening(text)) for text in DIALOGUE["prompts"]}
    assert prompts[:4] == [prompts[0]] * 4 and prompts[4:] == [prompts[4]] * 4  # two groups, each of one prompt
    chosen = inputs["tool_mask"].bool() & inputs["completion_mask"].bool()
    assert 0 < chosen.sum() < inputs["completion_mask"].sum()  # something was said in between
    for inputs in trainer.seen:
        assert_on_policy(inputs)

    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logs) == 2
    for entry in logs:
        assert np.isfinite(entry["loss"])
        assert entry["reward"] == pytest.approx(entry["env/length"] + entry["env/repetition"], abs=1e-4)
    assert (flat(trainer.model.parameters()) != before).any()


def test_adapters_of_peft_play_and_learn(trl, tiny_model, tmp_path):
    peft = pytest.importorskip("peft", reason="needs PEFT: pip install peft")
    adapters = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)  # so that they matter at once
    trainer = trainer_of(trl, tiny_model, env_of(tiny_model, num_envs=8), tmp_path, peft_config=adapters)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    for inputs in trainer.seen:
        assert_on_policy(inputs)
    changed = {name for name, p in trainer.model.named_parameters() if (p != before[name]).any()}
    assert changed and all("lora" in name for name in changed)


def test_grpo_gets_better_at_what_is_paid(trl, tiny_model, tmp_path):
    """Paid for the share of "e" among its letters, the random model soon writes more of it."""
    pay = lambda text: text.count("e") / max(1, len(text))  # noqa: E731
    env = env_of(tiny_model, num_envs=32, user=None, max_turns=1, max_new_tokens=8, reward=pay)
    options = dict(per_device_train_batch_size=32, num_generations=16, max_steps=25, learning_rate=5e-3)
    trainer = trainer_of(trl, tiny_model, env, tmp_path, options | dict(lr_scheduler_type="constant"))
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert np.mean(rewards[:3]) < 0.1 and np.mean(rewards[-3:]) > 0.15, rewards


def test_trl_talks_to_the_user_by_tool_calls(trl, tmp_path, monkeypatch):
    """A model that says what we tell it: TRL executes its tool calls, masks the answers, and is paid by the env."""
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen3_instruct_2507.jinja").read_text(encoding="utf-8")
    tokenizer = byte_level(
        special=("<s>", "<|im_end|>", "<pad>", "<|im_start|>"),
        eos_token="<|im_end|>", pad_token="<pad>", chat_template=template, padding_side="left",
    )  # fmt: skip
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=2048, n_embd=16, n_layer=1, n_head=1))
    call = '<tool_call>\n{"name": "say", "arguments": {"text": "%s"}}\n</tool_call><|im_end|>'
    script = [[call % "hi" for _ in range(2)], [call % "no", "I am done.<|im_end|>"], ["I am done.<|im_end|>"]]
    turns = iter([[tokenizer.encode(text) for text in texts] for texts in script])
    trainer = recording(trl)(
        model,
        args=config(trl, tmp_path, per_device_train_batch_size=2, num_generations=2, max_steps=1),
        train_dataset=prompt_dataset(single(**TALK), 1, chat=True),
        processing_class=tokenizer,
        environment_factory=partial(TextEnvironment, "dyngen/Generate-v0", **TALK),
    )
    monkeypatch.setattr(trainer, "_generate_single_turn", lambda *args, **kwargs: (next(turns), None))
    trainer.train()

    expected = []
    for texts in (["hi", "no"], ["hi"]):  # one talked twice, the other once
        env = single(**TALK)
        env.reset(seed=0)
        expected.append(sum(env.step(token)[1] for text in texts for token in [*text.encode(), 257]))
    log = next(entry for entry in trainer.state.log_history if "reward" in entry)
    assert log["rewards/TextEnvironment/mean"] == pytest.approx(np.mean(expected), abs=1e-5)
    assert log["tools/failure_frequency"] == 0

    inputs = trainer.seen[0]
    for row, said, answers in ((0, 3, ["ok", "and?"]), (1, 2, ["ok"])):
        ids, mask = inputs["completion_ids"][row], inputs["completion_mask"][row].bool()
        heard = tokenizer.decode(ids[mask & (inputs["tool_mask"][row] == 0)])
        assert all(f"<tool_response>\n{answer}\n</tool_response>" in heard for answer in answers)
        spoken = tokenizer.decode(ids[mask & (inputs["tool_mask"][row] == 1)])
        assert spoken.count("<|im_end|>") == said and "tool_response" not in spoken
