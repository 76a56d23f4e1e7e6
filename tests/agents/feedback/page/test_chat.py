"""Talking without HTTP: stored before answered, each person's own, drafts, wishes, corrections and pairs."""

import threading
from dataclasses import replace

import pytest

from dyngen_agents.feedback.live import LiveConfig, LiveLearner, StoreLedger
from dyngen_agents.feedback.page.chat import Chat, Moved
from dyngen_agents.feedback.page.served_model import TurnSettings, serve_model
from dyngen_agents.feedback.page.writer import Writer
from dyngen_agents.feedback.store import FeedbackStore, NotInStore

FEW = TurnSettings(max_new_tokens=6)


class Pupil:
    """A learner that only listens."""

    config = type("config", (), {"kept_notes": 0})

    def __init__(self):
        self.lessons, self.knew = [], []

    def before_turn(self):
        return f"v{len(self.lessons)}"

    def memory_of(self, person, context):
        self.knew.append([lesson.words for lesson in self.lessons][-1:])

    def rated(self, lesson):
        self.lessons.append(lesson)

    def close(self):
        pass


@pytest.fixture(scope="module")
def model(tiny_model):
    return serve_model(str(tiny_model), temperature=1.0)


@pytest.fixture
def chat(model, tmp_path):
    pupil = Pupil()
    with FeedbackStore(tmp_path / "feedback.db") as store:
        chat = Chat(store, model, Writer(model, pupil), pupil)
        yield chat
        chat.close()


@pytest.fixture
def anna(chat):
    return chat.store.person("anna")


def ended(writings):
    for writing in writings:
        done = threading.Event()
        writing.watch(done.set)
        while writing.outcome is None:
            assert done.wait(20)
            done.clear()
    return [writing.outcome.get("turn") for writing in writings]


def said(chat, person, dialogue, text, after=None, two=False):
    asked, writings = chat.message(person, dialogue, text, after, FEW, two, text)
    return asked, *ended(writings)


def test_what_is_said_is_stored_before_it_is_answered(chat, anna):
    dialogue = chat.begin(anna, "k").id
    blocked = threading.Event()
    chat.writer.call(lambda: blocked.wait(20))
    asked, writings = chat.message(anna, dialogue, "a good film", None, FEW, False, "m")
    assert [turn.text for turn in chat.store.turns(dialogue)] == ["a good film"]
    again = chat.message(anna, dialogue, "a good film", None, FEW, False, "m")
    assert again == (asked, writings) and chat.begin(anna, "k").id == dialogue  # sent twice, done once
    assert chat.view(anna, dialogue)["writing"] == [writings[0].key]
    blocked.set()
    (answer,) = ended(writings)
    turn = chat.store.turn(answer)
    assert turn.parent == asked.id and turn.model.fingerprint == chat.model.fingerprint
    assert list(turn.context) == writings[0].job.context and len(turn.tokens) == len(turn.logprobs)
    assert {"temperature", "top_p", "seed", "finish", "banned"} <= set(turn.sampling)
    seen = chat.view(anna, dialogue)
    assert [shown["text"] for shown in seen["turns"]] == ["a good film", turn.text] and seen["writing"] == []


def test_everybody_sees_their_own(chat, anna):
    bob = chat.store.person("bob")
    dialogue = chat.begin(anna, "k").id
    asked, answer = said(chat, anna, dialogue, "hello")
    assert chat.dialogues(bob) == [] and [one["title"] for one in chat.dialogues(anna)] == ["hello"]
    for refused in (
        lambda: chat.view(bob, dialogue),
        lambda: chat.message(bob, dialogue, "hi", answer, FEW, False, "x"),
        lambda: chat.answer(bob, dialogue, asked.id, "", FEW, False, "x"),
        lambda: chat.feedback(bob, "rating", [answer], 3, "x"),
        lambda: chat.own_turn(bob, answer),
    ):
        with pytest.raises(NotInStore):
            refused()


def test_a_request_that_is_sent_twice_is_done_once(chat, anna):
    dialogue = chat.begin(anna, "k").id
    asked, _ = said(chat, anna, dialogue, "hello")
    first, later = (chat.answer(anna, dialogue, asked.id, "", FEW, True, "a") for _ in range(2))  # the first is written
    assert later == first and len(ended(first)) == 2
    assert chat.answer(anna, dialogue, asked.id, "", FEW, True, "a") == first  # it has been written
    (better,) = ended(chat.answer(anna, dialogue, asked.id, "shorter", FEW, False, "w"))
    count = len(chat.store.turns(dialogue))
    for forgotten in (False, True):  # by the process, as after a restart
        if forgotten:
            chat.writer._known.clear()
        again = chat.answer(anna, dialogue, asked.id, "shorter", FEW, False, "w")
        assert ended(again) == ([] if forgotten else [better])
        assert chat.message(anna, dialogue, "hello", None, FEW, False, "hello")[0] == asked
        for other in (
            lambda: chat.answer(anna, dialogue, asked.id, "longer", FEW, False, "w"),
            lambda: chat.answer(anna, dialogue, asked.id + 1, "shorter", FEW, False, "w"),
            lambda: chat.message(anna, dialogue, "goodbye", None, FEW, False, "hello"),
            lambda: chat.message(anna, dialogue, "hello", better, FEW, False, "hello"),
        ):
            with pytest.raises(ValueError, match=r"used the key .* for another"):
                other()
    assert len(chat.store.turns(dialogue)) == count


def test_feedback_is_about_answers_of_the_model_to_one_message(chat, anna):
    dialogue = chat.begin(anna, "k").id
    asked, first, second = said(chat, anna, dialogue, "hello", two=True)
    _, later = said(chat, anna, dialogue, "more", second)
    for kind, turns, value in (
        ("rating", [asked.id], 3), ("thumbs", [asked.id], 1), ("correction", [asked.id], "hi"),
        ("words", [asked.id], "x"), ("span", [asked.id], {"start": 0, "end": 1, "good": True}),
        ("preference", [first, asked.id], None), ("preference", [first, later], None),
        ("ranking", [first, second, later], None),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"message of yours|different messages"):
            chat.feedback(anna, kind, turns, value, f"{kind}{turns}")
    assert chat.store.feedback() == []


def test_whoever_is_forgotten_by_another_process_is_remembered_no_longer(model, tmp_path):
    with FeedbackStore(tmp_path / "feedback.db") as store, FeedbackStore(tmp_path / "feedback.db") as other:
        ledger = StoreLedger(store, tmp_path)
        learner = LiveLearner(model.policy, model.own_tokenizer(), LiveConfig(every=0), ledger=ledger)
        chat = Chat(store, replace(model, policy=learner.policy), Writer(model, learner), learner)
        memories = []
        for _ in range(2):
            anna = store.person("anna")
            dialogue = chat.begin(anna, "k").id
            _, answer = said(chat, anna, dialogue, "hello")
            chat.feedback(anna, "words", [answer], "my name is Ozymandias", "w")
            chat.feedback(anna, "rating", [answer], -2, "r")
            _, later = said(chat, anna, dialogue, "go on", answer)
            memories += [store.turn(turn).sampling.get("memory") for turn in (answer, later)]
            assert other.forget("anna").turns == 4
        chat.close()
    assert [memory is None for memory in memories] == [True, False, True, False]


def test_a_dialogue_goes_on_in_one_place(chat, anna):
    dialogue = chat.begin(anna, "k").id
    asked, answer = said(chat, anna, dialogue, "hello")
    for after in (None, asked.id, answer + 1):
        with pytest.raises(Moved):
            chat.message(anna, dialogue, "again", after, FEW, False, f"{after}")
    said(chat, anna, dialogue, "more", answer)
    with pytest.raises(Moved):
        chat.answer(anna, dialogue, asked.id, "", FEW, False, "x")
    with pytest.raises(ValueError, match="write a shorter message"):
        chat.message(anna, chat.begin(anna, "k2").id, "x" * 4000, None, FEW, False, "long")


def test_a_wish_is_read_with_the_draft_and_both_leave_the_context_later(chat, anna):
    encode = chat.model.tokenizer.encode
    dialogue = chat.begin(anna, "k").id
    asked, draft = said(chat, anna, dialogue, "hello")
    (better,) = ended(chat.answer(anna, dialogue, asked.id, "shorter", FEW, False, "w"))
    first, second = chat.store.turn(draft), chat.store.turn(better)
    assert second.replaces == draft and second.parent == asked.id
    assert second.context[: len(first.context) + len(first.tokens)] == (*first.context, *first.tokens)
    assert tuple(encode("shorter")) == tuple(
        i for i in second.context[len(first.context) + len(first.tokens) :] if i in encode("shorter")
    )
    assert [words.value for words in chat.store.feedback(turn=draft)] == ["shorter"]
    assert [turn["id"] for turn in chat.view(anna, dialogue)["turns"]] == [asked.id, better]
    _, third = said(chat, anna, dialogue, "thanks", better)
    assert chat.store.turn(third).context[: len(first.context)] == first.context
    assert chat.store.turn(third).context[len(first.context) :][: len(second.tokens)] == second.tokens
    (plain,) = ended(chat.answer(anna, dialogue, chat.store.turn(third).parent, "", FEW, False, "a"))
    assert chat.store.turn(plain).context == chat.store.turn(third).context


def test_of_two_answers_the_chosen_one_goes_on(chat, anna):
    dialogue = chat.begin(anna, "k").id
    asked, first, second = said(chat, anna, dialogue, "hello", two=True)
    seen = chat.view(anna, dialogue)
    assert [turn["id"] for turn in seen["turns"]] == [asked.id]
    assert {turn["id"] for turn in seen["pair"]} == {first, second}
    chat.feedback(anna, "preference", [first, second], None, "p")
    seen = chat.view(anna, dialogue)
    assert [turn["id"] for turn in seen["turns"]] == [asked.id, first] and seen["pair"] == []
    said(chat, anna, dialogue, "go on", first)
    (lesson,) = [one for one in chat.learner.lessons if one.better]
    assert lesson.turn == second and lesson.better == chat.store.turn(first).tokens


def test_a_correction_stands_for_what_it_corrects(chat, anna):
    dialogue = chat.begin(anna, "k").id
    _, answer = said(chat, anna, dialogue, "hello")
    chat.feedback(anna, "correction", [answer], "a lovely film", "c")
    _, later = said(chat, anna, dialogue, "yes", answer)
    context = chat.store.turn(later).context
    before = chat.store.turn(answer).context
    encoded = tuple(chat.model.tokenizer.encode("a lovely film"))
    assert context[: len(before) + len(encoded)] == (*before, *encoded)


def test_the_learner_hears_of_everything_once_it_is_stored(chat, anna):
    dialogue = chat.begin(anna, "k").id
    _, answer = said(chat, anna, dialogue, "hello")
    assert chat.learner.lessons == []
    chat.feedback(anna, "thumbs", [answer], -1, "t")
    rating = chat.feedback(anna, "rating", [answer], 3, "r")
    assert chat.feedback(anna, "rating", [answer], 3, "r") == rating
    _, later = said(chat, anna, dialogue, "more about the music", answer)
    turn = chat.store.turn(answer)
    thumbs, *_, last = chat.learner.lessons
    assert thumbs.rating == -2 and (last.rating, last.words, last.person) == (3, "more about the music", "anna")
    assert last.tokens == turn.tokens and last.context == turn.context and rating.id in last.feedback
    assert chat.learner.knew == [[], ["more about the music"]]  # what was just said is remembered in the answer to it
    assert turn.model.version == "v0" and chat.store.turn(later).model.version != "v0"
