"""The live learner: off the serving thread, swapped in between turns, taken back on request."""

from dataclasses import replace

import pytest
import torch

from dyngen_agents.feedback.live.ledger import NoLedger
from dyngen_agents.feedback.live.log import NotTheirs
from dyngen_agents.feedback.live.update import LiveUpdate
from tests.support.rated_turns import BYTES, SMALL, live_learner, logprob, rated_turn

PATIENCE = 60.0


@pytest.fixture
def learners():
    """Makes learners that are closed again."""
    made = []

    def make(*arguments, **options):
        made.append(live_learner(*arguments, **options))
        return made[-1]

    yield make
    for learner in made:
        learner.close()


class Books(NoLedger):
    """A ledger in memory, in which feedback can be forgotten."""

    def __init__(self):
        self.gone, self.times, self.booked = set(), 0, {}

    def forget(self, *feedback):
        self.gone |= set(feedback)
        self.times += 1

    def forgotten(self):
        return self.times

    def missing(self, feedback):
        return self.gone & set(feedback)

    def book(self, version, feedback):
        self.booked[version] = sorted(feedback)


def tell(learner, *numbers, **more):
    for number in numbers:
        learner.rated(rated_turn(number, **more))
    assert learner.wait(PATIENCE) and not learner.problem


def weights(learner):
    return {name: p.detach().clone() for name, p in learner.policy.lm.named_parameters()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_weights_change_between_turns_only(learners):
    learner = learners()
    turn, untouched = rated_turn(1), weights(learner)
    before = logprob(learner.policy.lm, turn)
    tell(learner, 1, 2)
    assert same(untouched, weights(learner))
    assert learner.before_turn() == "v1"
    assert logprob(learner.policy.lm, turn) > before + 0.5


def test_versions_say_what_they_come_from(learners):
    books = Books()
    learner = learners(replace(SMALL, replay=2), ledger=books)
    tell(learner, 1, 2)
    tell(learner, 3, 4, rating=-2.0)
    assert [v.name for v in learner.versions()] == ["v0", "v1", "v2"]
    assert books.booked == {"v1": ["f1", "f2"], "v2": ["f1", "f2", "f3", "f4"]}  # v2 began with what v1 knew
    last = learner.current
    assert (last.turns, last.feedback, last.mean_rating, last.before) == ((3, 4), ("f3", "f4"), -2.0, "v1")
    assert last.kl > 0


def test_more_words_on_a_known_turn_are_no_new_turn(learners):
    learner = learners()
    tell(learner, 1)
    tell(learner, 1, words="more")
    assert learner.current.name == "v0"


def test_undo_takes_back_the_last_turn_then_versions(learners):
    learner = learners()
    first = weights(learner)
    tell(learner, 1, 2)
    learner.before_turn()
    second = weights(learner)
    tell(learner, 3, 4)
    tell(learner, 5)  # in no version yet
    assert [len(learner.memory_of("ann").notes), learner.undo().name] == [5, "v2"]
    assert [len(learner.memory_of("ann").notes), learner.undo().name] == [4, "v1"]
    learner.before_turn()
    assert same(second, weights(learner)) and len(learner.memory_of("ann").notes) == 2
    assert learner.undo().name == "v0"
    with pytest.raises(ValueError, match="nothing to undo: v0 is in use"):
        learner.undo()
    learner.before_turn()
    assert same(first, weights(learner)) and learner.memory_of("ann") is None
    tell(learner, 6, 7)
    assert learner.current.name == "v3" and learner.current.before == "v0"


def test_a_person_takes_back_what_is_theirs_alone(learners):
    learner = learners(replace(SMALL, every=3))
    tell(learner, 1)
    tell(learner, 2, person="bob")
    learner.undo("ann")  # not the latest turn, which is another's
    assert learner.memory_of("ann") is None and len(learner.memory_of("bob").notes) == 1
    tell(learner, 3, 4)
    assert learner.current.name == "v1"  # of both
    for person in ("ann", "bob"):
        for take_back in (learner.undo, learner.reset):
            with pytest.raises(NotTheirs, match="has learned from what others have said, too"):
                take_back(person)
    assert learner.current.name == "v1" and learner.undo().name == "v0"


def test_reset_forgets_everything(learners):
    learner = learners()
    first = weights(learner)
    tell(learner, 1, 2)
    learner.before_turn()
    tell(learner, 3)
    assert learner.reset().name == "v0"
    learner.before_turn()
    assert same(first, weights(learner)) and learner.memory_of("ann") is None


def test_the_memory_has_it_at_once_and_each_person_their_own(learners):
    learner = learners(replace(SMALL, every=0))
    learner.rated(rated_turn(1, words="shorter"))
    learner.rated(rated_turn(2, person="bob"))
    assert [len(learner.memory_of(person).notes) for person in ("ann", "bob")] == [1, 1]
    assert learner.before_turn() == "v0"


def test_whoever_was_forgotten_is_remembered_and_learned_from_no_longer(learners):
    books = Books()
    learner = learners(ledger=books)
    learner.rated(rated_turn(1, words="shorter"))
    books.forget("f1")  # by another process
    learner.rated(rated_turn(2, person="bob"))
    assert learner.memory_of("ann") is None and learner.memory_of("bob") is not None
    learner.rated(rated_turn(1))  # somebody had read this from the store before
    assert learner.memory_of("ann") is None
    tell(learner, 3, person="bob")
    assert learner.current.turns == (2, 3) and books.booked == {"v1": ["f2", "f3"]}


def test_an_update_under_way_is_given_up_when_its_words_are_forgotten(learners, monkeypatch, tmp_path):
    books, step = Books(), LiveUpdate._step
    learner = learners(ledger=books, folder=tmp_path)

    def forgotten(self, *arguments):
        books.forget("f2")
        step(self, *arguments)

    monkeypatch.setattr(LiveUpdate, "_step", forgotten)
    tell(learner, 1, 2)
    assert learner.current.name == "v0" and not list(tmp_path.glob("*.safetensors"))
    tell(learner, 3)
    assert learner.current.turns == (1, 3) and books.booked["v1"] == ["f1", "f3"]


def test_a_version_that_cannot_be_booked_does_not_serve(learners, monkeypatch):
    learner = learners(ledger=Books())
    monkeypatch.setattr(Books, "book", lambda *_: 1 / 0)
    learner.rated(rated_turn(1))
    learner.rated(rated_turn(2))
    assert learner.wait(PATIENCE)
    assert learner.before_turn() == "v0" and learner.problem == "ZeroDivisionError: division by zero"


def test_learning_goes_on_after_a_restart(learners, tmp_path):
    before = learners(folder=tmp_path, base="m")
    tell(before, 1, 2)
    tell(before, 3)
    before.undo()
    before.before_turn()
    after = learners(folder=tmp_path, base="m")
    assert after.before_turn() == "v1" and same(weights(before), weights(after))
    after.restore([rated_turn(n) for n in (1, 2, 3)])
    assert len(after.memory_of("ann").notes) == 2  # what was taken back stays so
    assert after.undo().name == "v0"
    assert after.memory_of("ann") is None


def test_equal_turns_give_equal_weights(learners):
    made = [learners(), learners()]
    for learner in made:
        tell(learner, 1, 2)
        learner.before_turn()
    assert same(*map(weights, made))


def test_what_does_not_learn_is_shared_and_engines_keep_their_caches(learners):
    learner = learners()
    engine, tokens = learner.policy.engine, torch.tensor([BYTES.encode_opening("hello")])
    engine.next_hidden(tokens, torch.tensor([tokens.shape[1]]))
    run = engine.tokens_run
    tell(learner, 1, 2)
    engine.next_hidden(tokens, torch.tensor([tokens.shape[1]]))
    assert engine.tokens_run == run  # nothing was run anew
    learner.before_turn()
    engine.next_hidden(tokens, torch.tensor([tokens.shape[1]]))
    assert engine.tokens_run > run
    learning = dict(learner._update.policy.lm.named_parameters())
    shared = [name for name, p in learner.policy.lm.named_parameters() if p is learning[name]]
    assert "transformer.h.0.attn.c_attn.weight" in shared and "transformer.h.1.attn.c_attn.weight" not in shared


def test_a_failing_update_is_told_and_serving_goes_on(learners, monkeypatch):
    learner = learners()

    def fail(*_):
        raise FloatingPointError("the gradient's norm is nan")

    monkeypatch.setattr(LiveUpdate, "__call__", fail)
    learner.rated(rated_turn(1))
    learner.rated(rated_turn(2))
    assert learner.wait(PATIENCE)
    assert learner.problem == "FloatingPointError: the gradient's norm is nan"
    assert learner.before_turn() == "v0"


def test_an_update_under_way_is_given_up_when_its_turns_are_taken_back(learners, monkeypatch):
    learner = learners()
    step = LiveUpdate._step

    def taken_back(self, *arguments):
        learner.undo()
        step(self, *arguments)

    monkeypatch.setattr(LiveUpdate, "_step", taken_back)
    tell(learner, 1, 2)
    assert [v.name for v in learner.versions()] == ["v0"]


def test_adapters_learn_beside_frozen_weights(learners):
    pytest.importorskip("peft")
    learner = learners(replace(SMALL, lora_rank=2))
    turn = rated_turn(1)
    before = logprob(learner.policy.lm, turn)
    base = {name: p.detach().clone() for name, p in learner.policy.lm.named_parameters() if ".lora_" not in name}
    tell(learner, 1, 2)
    learner.before_turn()
    assert logprob(learner.policy.lm, turn) > before + 0.1
    assert all(torch.equal(base[name], p) for name, p in learner.policy.lm.named_parameters() if name in base)
