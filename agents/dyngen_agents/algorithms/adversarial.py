"""Adversarial training: a discriminator learns to tell the policy's texts from human ones, and its belief is paid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from dyngen_agents.algorithms.adversarial_watch import AdversarialWatch
from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity, TensorFile
from dyngen_agents.algorithms.discriminator_training import DiscriminatorTraining
from dyngen_agents.algorithms.minibatch_pass import Piece
from dyngen_agents.algorithms.policy_gradient import PolicyGradient, RunShape
from dyngen_agents.algorithms.settings import COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, check_settings
from dyngen_agents.data.forking_actor import ForkingActor
from dyngen_agents.data.judged_texts import HumanTexts, JudgedTexts, Turns, human_texts, turns_of
from dyngen_agents.data.rollout import Act
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.functional.losses import policy_gradient_loss
from dyngen_agents.functional.returns import gae, rebn, returns_to_go
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy, Evaluation
from dyngen_agents.policy.lora import base_of
from dyngen_agents.policy.reference import Reference
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.discriminators.discriminator import Discriminator
from dyngen_env.lm.discriminators.file import FILE, DiscriminatorRecord
from dyngen_env.lm.discriminators.hidden_state import HiddenStateDiscriminator
from dyngen_env.lm.engine.heads import head_shape, hidden_states
from dyngen_env.lm.loading.fingerprint import fingerprint
from dyngen_env.text.vocabulary import vocabulary_fingerprint


@dataclass(frozen=True)
class AdversarialConfig:
    """Train adversarially: a discriminator D learns to tell the policy's texts from human ones, and pays for these."""

    learning_rate: float = 5e-4
    """After warm-up; annealed to zero. For reviews-lm with 2.7 M parameters."""
    warmup_steps: int = 5
    """Gradient steps over which the learning rate rises."""
    minibatch_size: int = 0
    """Episodes of one gradient step; 0 is the whole batch, which keeps every step on-policy."""
    max_tokens: int | None = None
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result. By
    default 1024 on a CPU, and on a GPU what its memory holds."""
    human: str | None = None
    """Human-written texts: a .txt file with one on each line, or .jsonl with {"prompt", "reference"}, whose references
    continue the prompts. By default what people wrote after the env's own prompts, such as the reviews."""
    discriminator: Literal["convolutional", "hidden-state"] = "convolutional"
    """D: n-gram filters with a highway layer (Kim 2014), or a head on the untrained model's hidden states."""
    d_weight: float = 1.0
    """Weight of D's probability of "human", paid for each turn beside the env's reward. For D alone add --reward 0."""
    d_credit: Literal["end", "prefix", "fork", "both"] = "end"
    """How it reaches tokens: with a turn's last one; by how much each token changes D's opinion of the text so far
    ("prefix"), or the mean opinion of `d_rollouts` ends to it ("fork", as in SeqGAN); or by the mean of the two."""
    d_lambda: float = 0.0
    """Between both extremes of that: 0 pays a token for the change alone (SeqGAN), 1 for all that the text became."""
    d_rollouts: int = 4
    """Ends that are written to each prefix, for "fork" and "both". Yu et al. 2017 have 16; time grows with it."""
    g_steps: int = 1
    """Updates of the policy between two turns of D."""
    d_steps: int = 1
    """How often D draws texts anew in its turn: as many of the policy's newest texts as a batch has, and human ones."""
    d_epochs: int = 2
    """Passes of D over each draw."""
    d_pretrain: int = 5
    """Updates at the start in which D alone learns, from what the untrained policy writes."""
    d_learning_rate: float = 1e-3
    """Of D, constant."""
    d_minibatch_size: int = 32
    """Human texts of a gradient step of D, and as many of the policy's."""
    d_memory: int = 512
    """How many of the policy's newest texts D may learn from."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    kl_coef: float = 0.01
    """β of the penalty -β(log π - log π_ref) per token, in the reward."""
    kl_target: float | None = None
    """Nats per episode that an adaptive β steers to (Ziegler et al. 2019: 6); None keeps β fixed."""
    kl_horizon: float = 10_000
    """Episodes over which the adaptive β adapts."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("d_rollouts", "g_steps", "d_steps", "d_epochs", "d_minibatch_size", "d_memory"), COUNT)
        check_settings(
            self, minibatch_size=NOT_NEGATIVE, d_weight=NOT_NEGATIVE, d_lambda=FRACTION, d_pretrain=NOT_NEGATIVE,
            d_learning_rate=POSITIVE, **counts,
        )  # fmt: skip
        if self.d_credit in ("fork", "both") and self.d_pretrain == 0:
            raise ValueError(f"d_credit={self.d_credit!r} asks D about every token, and d_pretrain=0 taught it nothing")
        if self.human is not None:  # a run goes on from any working directory
            object.__setattr__(self, "human", str(Path(self.human).expanduser().absolute()))


class Adversarial:
    """SeqGAN (Yu et al. 2017) for any env: REINFORCE with whitened returns on

        R = env's reward + d_weight D(text) - β KL

    D and the policy learn by turns, D first by itself. Whether that stays sound is measured in every update: see
    `AdversarialWatch`. The arguments are those of every `Algorithm`.

    Raises:
        ValueError: D's pretraining would take all updates of the run.
    """

    Config: ClassVar[type] = AdversarialConfig

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: AdversarialConfig | None = None,
        **run: Unpack[RunShape],
    ):
        self.config = c = config or AdversarialConfig()
        updates = run.get("total_updates", 0)
        if 0 < updates <= c.d_pretrain:
            raise ValueError(
                f"d_pretrain={c.d_pretrain} of {updates} updates leaves the policy none: raise updates or lower it"
            )
        run["total_updates"] = updates and updates - c.d_pretrain
        self.common = PolicyGradient(
            policy, reference, c, policy.lm.parameters(), epochs=1, minibatch_size=c.minibatch_size or None, **run
        )
        self.policy, self.reference, self.seed = policy, reference, run.get("seed", 0)
        discriminator = self._new_discriminator()
        self.record = DiscriminatorRecord(discriminator.kind, discriminator.settings)
        on_prefixes = c.d_credit in ("prefix", "both")
        sizes = dict(minibatch_size=c.d_minibatch_size, memory=c.d_memory)
        self.judge = DiscriminatorTraining(discriminator, c.d_learning_rate, on_prefixes=on_prefixes, **sizes)
        self.watch = AdversarialWatch(self._untrained_hidden)
        self.env: TextGenVectorEnv | None = None  # where it plays; both are known from the first rollout on
        self.human: HumanTexts | None = None

    def _new_discriminator(self) -> Discriminator:
        (vocabulary, width), kind = head_shape(self.policy.lm), self.config.discriminator
        size = dict(width=width) if kind == HiddenStateDiscriminator.kind else dict(vocabulary=vocabulary)
        new = DiscriminatorRecord(kind, dict(size, seed=self.seed)).build(self._untrained_hidden)
        new.module.to(self.policy.lm.device)
        return new

    def _untrained_hidden(self, tokens: Tensor) -> Tensor:
        """Last hidden states (N, T, D) of the untrained model."""
        with torch.no_grad(), base_of(self.reference.lm) as lm:
            return hidden_states(lm, tokens)

    def actor(self, seed: int) -> Actor:
        """The policy at work: what it is in rollouts."""
        return self.common.actor(seed)

    def experience(self, play: Play) -> Trajectories:
        """Episodes of the policy as it is. With forks, their values are D's mean opinion of the branches' ends."""
        self.env, c = play.env, self.config
        if c.d_credit not in ("fork", "both") or self.common.updates < c.d_pretrain:
            return play(self.actor)

        def forking(seed: int) -> Act:
            return ForkingActor(self.actor(seed), play.env, self.judge.score, c.d_rollouts, self.record.reads_prompt)

        return play(forking)

    def _read_human_texts(self, env: TextGenVectorEnv) -> HumanTexts:
        """The human texts, once; with them it is known what D reads."""
        if self.human is None:
            self.human = human_texts(env, self.config.human)
            model = env.model if self.record.kind == HiddenStateDiscriminator.kind else None
            self.record = replace(
                self.record,
                tokenizer=env.tokenizer.name,
                vocabulary=vocabulary_fingerprint(env.tokenizer),
                reads_prompt=self.human.reads_prompt,
                model=model or "",
                model_fingerprint=fingerprint(model) if model else "",
            )
        return self.human

    def update(self, batch: Trajectories) -> dict[str, float]:
        """One gradient step of the policy on a batch of episodes, ∇ E[Σₜ Aₜ log π(aₜ|sₜ)], and D's turn if it is due.

        Returns:
            metrics: losses and KLs in nats; "d_accuracy", "d_human" and "d_generated" as in `Judgement`, before D's
            turn; D's "d_loss"; and what `AdversarialWatch` measures.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
            ValueError, FileNotFoundError: there are no human texts to learn from; the message says what to give.
        """
        c, number = self.config, self.common.updates
        is_pretraining = number < c.d_pretrain
        assert self.env is not None, "experience comes first"
        human = self._read_human_texts(self.env)
        turns, texts = self.turns(batch)
        judgement = self.judge.judge(human, texts)
        numbers = {f"d_{name}": value for name, value in judgement._asdict().items()}
        learned, advantages, ref_logprobs = self._advantages(batch, turns, texts)

        def token_terms(new: Evaluation, piece: Piece) -> dict[str, Tensor]:
            policy_loss = policy_gradient_loss(new.logprobs, piece.of(advantages))
            return {"policy_loss": policy_loss, "entropy": new.entropies}

        if is_pretraining:
            metrics = {"policy_loss": 0.0, "entropy": self.common.mean_entropy(batch)}
        else:
            weights = {"policy_loss": 1.0, "entropy": -c.ent_coef}
            metrics = self.common.gradient_steps(batch, token_terms, weights)
        self.judge.remember(texts)
        if is_pretraining or (number - c.d_pretrain + 1) % c.g_steps == 0:
            seed = self.seed + 1_000_003 * number
            numbers["d_loss"] = self.judge.learn(human, len(texts), c.d_steps, c.d_epochs, seed)
        metrics |= numbers | self.watch.look(batch.texts, texts, human.held_out, metrics | numbers)
        if is_pretraining:
            del metrics["validation"]  # the untrained policy is no candidate for the best checkpoint
        return metrics | self.common.end_update(learned, ref_logprobs)

    def turns(self, batch: Trajectories) -> tuple[Turns, JudgedTexts]:
        """The policy's turns in a batch, and what D reads of them."""
        assert self.env is not None, "experience comes first"
        turns = turns_of(batch.completion_mask)
        return turns, turns.texts(batch, self.env.tokenizer.end_ids, self.record.reads_prompt)

    def _advantages(self, batch: Trajectories, turns: Turns, texts: JudgedTexts) -> tuple[Trajectories, Tensor, Tensor]:
        """The batch with D's payments in its rewards, the whitened advantages, and the reference's log-probs (N, L)."""
        c, mask = self.config, batch.completion_mask
        scores = c.d_weight * self.judge.score(texts)
        paid = torch.zeros_like(batch.rewards).index_put((turns.episodes, turns.end - 1), scores)
        learned = replace(batch, rewards=batch.rewards + paid)
        at_tokens = c.d_credit != "end"
        rewards, ref_logprobs = self.common.penalised_rewards(batch if at_tokens else learned)
        advantages = returns_to_go(rewards, batch.bootstrap, mask, 1.0)
        if at_tokens:
            advantages = advantages + c.d_weight * self._token_advantages(batch, turns, texts)
        return learned, rebn(advantages, mask), ref_logprobs

    def _token_advantages(self, batch: Trajectories, turns: Turns, texts: JudgedTexts) -> Tensor:
        """(N, L): what each token does to D's opinion Φ of its turn: GAE with D(text) at the turn's end and Φ for V.

        With λ = 0 that is Φ(sₜ₊₁) - Φ(sₜ), Φ of the finished turn being D(text).
        """
        mask = turns.mask(batch.tokens.shape[1])  # (M, L): a turn a row
        rewards = torch.zeros(mask.shape, device=mask.device)
        rewards.scatter_(1, turns.end[:, None] - 1, self.judge.score(texts)[:, None])
        none = rewards.new_zeros(len(rewards))
        opinions = self._opinions(batch, turns, texts)
        advantages, _ = gae(rewards, opinions, none, mask, 1.0, self.config.d_lambda)
        return torch.zeros_like(batch.rewards).index_add(0, turns.episodes, advantages)

    def _opinions(self, batch: Trajectories, turns: Turns, texts: JudgedTexts) -> Tensor:
        """(M, L): D's opinion Φ of each turn before each of its tokens; anything elsewhere."""
        found = []
        if self.config.d_credit in ("prefix", "both"):
            after = turns.aligned(self.judge.prefix_scores(texts), texts, batch.tokens.shape[1])
            start = turns.start[:, None]
            # Of an empty turn D says nothing: the mean opinion of first tokens is what is expected of them.
            expected = after.gather(1, start).mean().expand(len(after), 1)
            found.append(after.roll(1, dims=1).scatter(1, start, expected))
        if self.config.d_credit in ("fork", "both"):
            found.append(batch.values[turns.episodes])
        return torch.stack(found).mean(0)

    def state(self) -> AlgorithmState:
        """That of every policy-gradient algorithm, D in a file of its own, and what D learns from."""
        common = self.common.state()
        tensors = {f"discriminator.{name}": tensor for name, tensor in self.judge.tensors().items()}
        file = TensorFile(self.judge.discriminator.module.state_dict(), self.record.metadata())
        return AlgorithmState(common.tensors | tensors, common.values | {"watch": self.watch.state()}, {FILE: file})

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`."""
        self.common.load_state(state, for_training=for_training)
        self.judge.discriminator.module.load_state_dict(state.files[FILE].tensors)
        self.record = DiscriminatorRecord.from_metadata(state.files[FILE].metadata)
        self.watch.load_state(state.values["watch"])
        if for_training:
            self.judge.load_tensors(state.under("discriminator."))

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """The rewards that it learns from, advantages, and D's opinion of the text so far."""
        turns, texts = self.turns(batch)
        learned, advantages, _ = self._advantages(batch, turns, texts)
        rewards, _ = self.common.penalised_rewards(learned)
        opinions = turns.aligned(self.judge.prefix_scores(texts), texts, batch.tokens.shape[1])
        opinion = torch.zeros_like(batch.rewards).index_add(0, turns.episodes, opinions)
        about = "How probable the discriminator finds it that people wrote the text up to this token"
        return Diagnostics(
            (
                self.common.learned_reward(rewards),
                Quantity("advantage", "advantage", "Better or worse than expected, whitened", advantages),
                Quantity("human", "human?", about, opinion, signed=False),
            ),
            ("The reward here has the discriminator's payment in it; training whitens advantages over its batch.",),
        )
