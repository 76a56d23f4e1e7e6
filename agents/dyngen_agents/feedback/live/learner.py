"""A learner that learns while people talk: rated turns go in, and between turns what it has learned is swapped in.

    learner = LiveLearner(policy, tokenizer)
    served = learner.policy                        # it serves from now on; the policy that was given stays what it is
    version = learner.before_turn()                # on the thread that serves, before each turn of the agent
    memory = learner.memory_of("ann", context)     # what the model attends to beside the context, or None
    ...                                            # the turn is written, the person rates it
    learner.rated(RatedTurn(...))                  # from any thread; returns at once

**What is learned.** The explicit memory (`policy.feedback_memory`) at once: it is the person's latest answers. Weights
every `LiveConfig.every` rated turns, by `LiveUpdate` on a thread of its own, in a copy of the weights that learn: what
serves is never written to but by `before_turn`. Weights that do not learn are shared and not copied.

**Taking back.** `undo` takes back the latest turn that no version has learned from yet, or else the current version
with all that was said for it; `reset` goes back to the beginning. An update that is under way is given up. What was
taken back teaches nothing from then on, and stays in the store.

**Forgetting.** Before each turn and each update the learner asks its `Ledger` whether somebody was forgotten. What that
person has said is then dropped from memories and updates. What versions have learned from it already is in their
weights: they are named to whoever forgets, and `reset` is rid of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from dyngen_agents.feedback.live.background import go_last
from dyngen_agents.feedback.live.config import LiveConfig
from dyngen_agents.feedback.live.ledger import Ledger, NoLedger
from dyngen_agents.feedback.live.log import RatedTurn, TurnLog
from dyngen_agents.feedback.live.update import Interrupted, LiveUpdate
from dyngen_agents.feedback.live.versions import BASE, Version, Versions
from dyngen_agents.feedback.live.weights import choose_weights, read_weights, twin, write_weights
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.feedback_memory import FeedbackMemory
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


class LiveLearner:
    """Learns from rated turns while the same model serves. Every method but `before_turn` may be called by any thread.

    Args:
        policy: the model to begin with, and to which all that is learned is held. Nobody else may train it.
        tokenizer: its tokenizer.
        config: settings.
        folder: where versions are saved, and from where learning goes on; None keeps them in memory.
        base: an id of the model as it is, such as `fingerprint(name)`; a folder's versions must be of the same.
        ledger: says who was forgotten, and books what each new version knows.

    Attributes:
        policy: the policy that serves; like the one that was given until there is something to swap in.
        problem: what went wrong in the latest update, in one line; "" if nothing did. The version before it stays.

    Raises:
        ImportError, ValueError: see `choose_weights` and `Versions`.
    """

    def __init__(
        self,
        policy: CausalLMPolicy,
        tokenizer: Tokenizer,
        config: LiveConfig | None = None,
        *,
        folder: str | Path | None = None,
        base: str = "",
        ledger: Ledger | None = None,
    ):
        self.config = c = config or LiveConfig()
        self.problem, self._ledger = "", ledger or NoLedger()
        self._forgotten = self._ledger.forgotten()  # how often, when the log was last compared with the ledger
        self._log = TurnLog(tokenizer, c.note_tokens, c.kept_notes)
        lm = twin(policy.lm)
        names = choose_weights(lm, c) if c.every else []
        self.policy = _policy_of(twin(lm, names), policy.distribution, policy.label_embedding)
        self._versions = Versions(None if folder is None else Path(folder), base, read_weights(lm, names), time.time())
        self._served = BASE  # the version whose weights serve
        self._pending: list[int | str] = []  # turns that the current version has not learned from
        self._begun = 0  # how many of these the latest update reads, which made no version yet
        self._era = 0  # changes when something is taken back: what was begun before is no longer wanted
        self._stopped = self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        if c.every:
            plain = TokenDistribution.of(
                tokenizer, device=policy.lm.device
            )  # no temperature, no ban: others may differ
            learning = _policy_of(twin(lm, names), plain, policy.label_embedding)
            self._update = LiveUpdate(learning, Reference(twin(policy.lm), plain), tokenizer, names, c)
            self._thread = threading.Thread(target=self._work, name="live learner", daemon=True)
            self._thread.start()

    def rated(self, turn: RatedTurn) -> None:
        """Take in what a person has said of a turn. The memory has it at once, the weights later; returns at once."""
        with self._changed:
            if self._log.add(turn):
                self._pending.append(turn.turn)
                self._versions.taken_back.discard(turn.turn)
            self._changed.notify_all()
        self._drop_missing([turn])  # the person may have been forgotten since somebody read this from the store

    def restore(self, turns: Iterable[RatedTurn]) -> None:
        """Take in again, after a restart, what people had said before, oldest first: all but what was taken back.

        Memories are as they were, and the next update reads these turns, too; it does not come sooner for them.
        """
        with self._changed:
            for turn in turns:
                if turn.turn not in self._versions.taken_back:
                    self._log.add(turn)

    def before_turn(self) -> str:
        """Swap in the current version if it is another one than the model serves. Returns its name.

        To be called by the thread that computes with the model, between two turns.
        """
        with self._changed:
            name = self._versions.current
            weights = self._versions.weights(name) if name != self._served else {}
        write_weights(self.policy.lm, weights)
        self._served = name
        return name

    def memory_of(self, person: str, context: tuple[int, ...] = ()) -> FeedbackMemory | None:
        """What is remembered of a person, for `FeedbackMemory.as_notes`; None if nothing is.

        Args:
            context: the tokens that the next turn will stand after (`TurnLog.memory_of`).
        """
        self._drop_forgotten()
        with self._changed:
            return self._log.memory_of(person, context)

    def versions(self) -> list[Version]:
        """Every version there was, oldest first, those that were taken back included."""
        with self._changed:
            return list(self._versions.all)

    @property
    def current(self) -> Version:
        """The version that the next turn will be written by."""
        with self._changed:
            return self._versions.named(self._versions.current)

    def undo(self, person: str | None = None) -> Version:
        """Take back the latest thing learned: a turn that no version has learned from yet, or else the current version.

        Args:
            person: takes back what they have said themselves; None: what anybody has said.

        Returns:
            the version that the next turn will be written by.

        Raises:
            ValueError: there is no such thing. NotTheirs: others have said it, too.
        """
        with self._changed:
            current = self._versions.named(self._versions.current)
            if own := [turn for turn in self._pending if person in (None, self._log[turn].person)]:
                self._take_back(own[-1:])
            elif current.before:
                self._log.require_own(person, current.turns, current.name)
                self._versions.use(current.before)
                self._take_back(current.turns)
            else:
                raise ValueError(f"there is nothing to undo: {current.name} is in use, and nothing was said since then")
        return self.current

    def reset(self, person: str | None = None) -> Version:
        """Forget everything: the model is the one that learning began with. Versions stay saved, and are listed.

        Args:
            person: who asks; None: whoever serves. Raises NotTheirs if others have taught the model.
        """
        with self._changed:
            turns = [turn.turn for turn in self._log.all()]
            self._log.require_own(person, turns, "the model")
            self._versions.use(BASE)
            self._take_back(turns)
        return self.current

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is being learned, at most so long. Returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopped or not (self._busy or self._due()), seconds)

    def close(self) -> None:
        """Stop the background thread; an update that is under way is given up."""
        with self._changed:
            self._stopped = True
            self._era += 1
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _drop_forgotten(self) -> None:
        """Drop what the ledger has no longer, if somebody was forgotten since this was last done."""
        if (times := self._ledger.forgotten()) != self._forgotten:
            with self._changed:
                turns = self._log.all()
            self._drop_missing(turns)
            self._forgotten = times

    def _drop_missing(self, turns: Sequence[RatedTurn]) -> None:
        missing = self._ledger.missing(key for turn in turns for key in turn.feedback)
        if missing:
            with self._changed:
                self._drop([turn.turn for turn in turns if missing.intersection(turn.feedback)])

    def _take_back(self, turns: Sequence[int | str]) -> None:
        self._versions.take_back(turns)
        self._drop(turns)

    def _drop(self, turns: Sequence[int | str]) -> None:
        """Forget turns, and give up the update that may be reading them."""
        gone = set(turns)
        self._log.drop(turns)
        self._begun = sum(turn not in gone for turn in self._pending[: self._begun])
        self._pending = [turn for turn in self._pending if turn not in gone]
        self._era += 1
        self._changed.notify_all()

    def _due(self) -> bool:
        every = self.config.every
        return every > 0 and len(self._pending) - self._begun >= every

    def _work(self) -> None:
        """What the background thread does: an update whenever one is due, until it is stopped."""
        go_last(self.config.threads)
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stopped or self._due())
                if self._stopped:
                    return
                self._busy = True
                era, self._begun = self._era, len(self._pending)
                turns = self._log.latest(self.config.replay)
                weights = self._versions.weights(self._versions.current)
            try:
                self._learn(turns, weights, era)
                self.problem = ""
            except Interrupted:
                with self._changed:
                    self._begun = 0  # what is left of the turns may be enough for an update of its own
            except Exception as error:  # serving goes on with the version that it has
                self.problem = f"{type(error).__name__}: {error}".splitlines()[0]
                log.warning("nothing was learned from %d turns: %s", len(turns), self.problem, exc_info=True)

    def _learn(self, turns: list[RatedTurn], weights: dict[str, Tensor], era: int) -> None:
        """Make a version of these turns, from these weights on.

        It is booked before it is saved: whoever forgets a person later is told of it, and if somebody was forgotten
        before, it is given up.
        """
        update = self._update
        self._check(era)
        write_weights(update.policy.lm, weights)
        kl = update(turns, lambda: self._era == era)
        with self._changed:
            new = [self._log[turn] for turn in self._pending[: self._begun]]
            version = self._versions.next(new, turns, kl)  # this thread alone makes versions
        self._ledger.book(version.name, self._versions.known_to(version))
        self._check(era)
        self._versions.save(version.name, read_weights(update.policy.lm, update.names))
        with self._changed:
            if self._era != era:
                raise Interrupted
            self._versions.add(version)
            self._pending, self._begun = self._pending[self._begun :], 0

    def _check(self, era: int) -> None:
        """Raises Interrupted if something was taken back since `era`, or somebody was forgotten."""
        self._drop_forgotten()
        if self._era != era:
            raise Interrupted


def _policy_of(lm: PreTrainedModel, distribution: TokenDistribution, labels: nn.Embedding | None) -> CausalLMPolicy:
    policy = CausalLMPolicy(lm, distribution)
    policy.label_embedding = policy.engine.label_embedding = labels
    return policy
