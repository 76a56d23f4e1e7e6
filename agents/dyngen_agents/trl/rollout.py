"""A `rollout_func` for TRL's GRPOTrainer: the trainer's model plays whole episodes of a batched env, with a KV cache.

    env = gym.make_vec("dyngen/Sentiment-v0", num_envs=32, output="torch", autoreset_mode="same_step")
    GRPOTrainer(model, reward_funcs=env_reward, rollout_func=EnvRollout(env), train_dataset=prompt_dataset(env, 64))

TRL learns from the tokens that were played; what a user said between them is masked out of its loss (`env_mask`).
How TRL 1.10 and 1.16 call a `rollout_func` (its grpo_trainer.py): it passes every prompt `num_generations` times and
expects one completion for each, none of them empty. It uses `logprobs` only where it has generated with vLLM itself or
masks off-policy sequences. `max_completion_length` does not apply; the env has limits of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dyngen_agents.data.rollout import collect
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.trl.legal_logits import keep_to_legal_tokens
from dyngen_agents.trl.positions import count_from_first_token
from dyngen_agents.trl.prompts import examples_of, group_seeds, prompt_text
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.distribution import SamplingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class EnvRollout:
    """Plays each prompt that TRL passes as one episode of the env.

    The sampling is the trainer's (temperature, top_k, top_p), over the env's legal tokens and without its banned words.
    For its loss TRL computes log-probs anew: the model's softmax at that temperature over all tokens. So from the first
    call on, the models' logits are those of the legal tokens alone (`dyngen_agents.trl.legal_logits`), and these
    log-probs are those of the distribution that was drawn from, but for banned words, of which TRL knows nothing.

    Sampling is seeded by the trainer's seed and the rank of the process; a simulated user by the trainer's seed, the
    prompt and the number of the call, so that all completions of a group are answered by the same one. From the first
    call on, the model and the trainer's reference model compute position ids from the attention mask
    (`dyngen_agents.trl.positions`).

    Args:
        env: made by `gym.make_vec` with `output="torch"` and `autoreset_mode="same_step"`, with the model's tokenizer
            and on its device. Batches of more than `num_envs` prompts are played in parts.

    Raises:
        ValueError: the env is not a batched env of dyngen, or it shows pictures or sounds.
    """

    def __init__(self, env: Any):
        self.env: TextGenVectorEnv = env.unwrapped
        if not isinstance(self.env, TextGenVectorEnv):
            raise ValueError(f"expected a batched env of dyngen, got {type(self.env).__name__}: use gym.make_vec")
        if self.env.media.room:
            raise ValueError("the env shows pictures or sounds, and TRL's trainer reads words alone: use dyngen_agents")
        self._actor: Actor | None = None
        self._calls = 0

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, list]:
        """Play one episode for each of N prompts.

        Args:
            prompts: N prompts, each a text or a list of one user message. trainer: the GRPOTrainer.

        Returns:
            A dict of lists of N. prompt_ids: the tokens before the agent's first one. completion_ids: the tokens from
            there to the agent's last one. env_mask: 1 where the agent chose the completion's token, 0 where the user
            said it. logprobs: of the chosen tokens, in nats; 0 elsewhere. For reward functions: env_reward (the
            episode's return), reward_terms (its parts by name) and finish_reason.

        Raises:
            ValueError: the trainer samples greedily or in a way that the env cannot, or model and env do not fit.
        """
        lm: Any = trainer.accelerator.unwrap_model(trainer.model)
        if hasattr(lm, "get_base_model"):  # PEFT: its adapters sit inside the model that they adapt
            lm = lm.get_base_model()
        learning = lm.training
        actor = self._actor = self._acting(lm, _sampling(trainer), trainer)
        actor.policy.engine.invalidate()  # the weights have changed since, maybe behind torch's back
        texts = [prompt_text(prompt) for prompt in prompts]
        examples, seeds = examples_of(self.env.task, texts), group_seeds(texts, self._calls, trainer.args.seed)
        self._calls += 1
        lm.eval()  # no dropout
        try:
            return as_trl(collect(self.env, actor, len(examples), seed=seeds, examples=examples))
        finally:
            lm.train(learning)

    def _acting(self, lm: PreTrainedModel, sampling: SamplingConfig, trainer: Any) -> Actor:
        """The actor of the last call if it still plays the same model in the same way."""
        if self._actor is not None:
            policy = self._actor.policy
            if policy.lm is lm and policy.distribution.sampling == sampling:
                return self._actor
        if lm.device.type != self.env.device.type:
            raise ValueError(f"the model is on {lm.device}, the env on {self.env.device}: make the env with device=...")
        for model in (lm, getattr(trainer, "ref_model", None)):
            if model is not None:
                count_from_first_token(unwrapped := trainer.accelerator.unwrap_model(model))
                keep_to_legal_tokens(unwrapped, self.env.legal_tokens())
        actor = Actor(
            CausalLMPolicy(lm, self.env.token_distribution(sampling)),
            seed=trainer.args.seed + trainer.accelerator.process_index,
        )
        actor.step = self._actor.step if self._actor is not None else 0  # no uniforms twice
        return actor


def env_reward(env_reward: list[float], reward_terms: list[dict[str, float]], log_metric: Any = None, **_: Any) -> list:
    """The reward function that goes with `EnvRollout`: the episodes' returns. Logs the mean of each reward term."""
    if log_metric is not None:
        for name in reward_terms[0]:
            log_metric(f"env/{name}", sum(terms[name] for terms in reward_terms) / len(reward_terms))
    return env_reward


def as_trl(played: Trajectories) -> dict[str, list]:
    """Episodes in the form that TRL expects of a `rollout_func`; see `EnvRollout.__call__`."""
    played.require_whole("TRL")
    out: dict[str, list] = {key: [] for key in ("prompt_ids", "completion_ids", "env_mask", "logprobs")}
    for tokens, chosen, logprobs in zip(played.tokens, played.completion_mask, played.logprobs, strict=True):
        choices = chosen.nonzero().flatten()
        start, end = int(choices[0]), int(choices[-1]) + 1
        out["prompt_ids"].append(tokens[:start].tolist())
        out["completion_ids"].append(tokens[start:end].tolist())
        out["env_mask"].append(chosen[start:end].long().tolist())
        out["logprobs"].append(logprobs[start:end].tolist())
    out["env_reward"] = played.episode_returns.tolist()
    out["reward_terms"] = [
        {name: float(paid[row]) for name, paid in played.reward_terms.items()} for row in range(len(played))
    ]
    out["finish_reason"] = list(played.finish_reasons)
    return out


def _sampling(trainer: Any) -> SamplingConfig:
    unknown = {
        "min_p": trainer.min_p is not None,
        "repetition_penalty": trainer.repetition_penalty != 1.0,
        "generation_kwargs": bool(trainer.args.generation_kwargs),
    }
    if any(unknown.values()):
        raise ValueError(
            f"{', '.join(name for name, is_set in unknown.items() if is_set)} of the GRPOConfig cannot be followed: "
            "EnvRollout samples with temperature, top_k and top_p"
        )
    sampling = SamplingConfig(temperature=trainer.temperature, top_k=trainer.top_k or 0, top_p=trainer.top_p)
    sampling.require_chance()
    return sampling
