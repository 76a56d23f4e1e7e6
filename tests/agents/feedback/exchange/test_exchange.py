"""Out and in: TRL's columns by hand, and stores that are the same after the round trip, field by field."""

from __future__ import annotations

import errno
import json
import os

import pytest

from dyngen_agents.data.episodes import read_episodes
from dyngen_agents.feedback.exchange import FORMATS, export_rows, import_rows, read_rows, write_rows
from dyngen_agents.feedback.store import FeedbackStore, ModelStamp

MODEL = ModelStamp("dialogue-lm", "sha256:ab", "adapter-2")


@pytest.fixture
def talked(store, clock):
    """A dialogue with a draft, candidates and every kind of feedback; beside it two completions of one prompt."""
    with store.at_once():
        ada, bob = store.person("ada"), store.person("bob")
        talk = store.begin_dialogue(ada, MODEL, {"device": "cpu", "odd": "\x00\u2028"})
        store.add_turn(talk, "user", "Any good \x00films?")
        sampled = dict(sampling={"temperature": 0.7}, model=MODEL)
        alien = store.add_turn(
            talk, "agent", "Alien! Or not.", tokens=[44, 7], logprobs=[-0.1, -2.5e-17], context=[1, 2], **sampled
        )
        bambi = store.add_turn(talk, "agent", "Bambi", beside=alien)
        store.add_turn(talk, "agent", "Bambi, of course", replaces=bambi)
        clock.now += 0.123456789
        store.add_turn(talk, "user", "thanks", after=alien)
        bye = store.add_turn(talk, "agent", "bye", tokens=[5], logprobs=[-1.0], context=[1, 2, 44, 7, 9], **sampled)
        store.add_feedback("rating", ada, alien, 3, extra={"seconds": 2.5, "columns": {"margin": 0.5}})
        store.add_feedback("rating", ada, bye, -1.5)
        store.add_feedback("rating", ada, bye, -2)
        store.add_feedback("thumbs", bob, alien, 1)
        store.add_feedback("preference", ada, (alien, bambi), key="mine")
        store.add_feedback("ranking", bob, [bambi, alien, bambi.id + 1])
        store.add_feedback("span", ada, alien, {"start": 0, "end": 6, "good": True})
        store.add_feedback("span", ada, alien, {"start": 10, "end": 14, "good": False})
        store.add_feedback("correction", ada, alien, "Alien.")
        store.add_feedback("words", ada, alien, "<b>too</b> long")
        one = store.add_turn(store.begin_dialogue(None, opening="The film"), "agent", " is bad", model=MODEL)
        two = store.add_turn(store.begin_dialogue(None, opening="The film"), "agent", " is good", model=MODEL)
        unanswered = store.begin_dialogue(bob, opening="Be kind.")  # nobody has answered him
        store.add_feedback("words", bob, store.add_turn(unanswered, "user", "Hello?"), "why does nobody answer?")
        store.begin_dialogue(ada)
        store.add_feedback("rating", bob, one, 0)
        store.add_feedback("preference", bob, (two, one))
    return store


def contents(store) -> list[dict]:
    """All that a store holds, without the ids that are numbers of the file: by keys instead."""
    keys = {turn.id: turn.key for talk in store.dialogues() for turn in store.turns(talk)}
    talks = {talk.id: talk.key for talk in store.dialogues()}
    found = [
        {**{name: getattr(talk, name) for name in ("key", "model", "settings", "opening", "created")},
         "person": talk.person and (talk.person.name, talk.person.created)}
        for talk in store.dialogues()
    ]  # fmt: skip
    names = ("key", "role", "text", "tokens", "logprobs", "context", "sampling", "model", "created")
    for talk in store.dialogues():
        for turn in store.turns(talk):
            links = {"talk": talks[turn.dialogue], "parent": keys.get(turn.parent), "draft": keys.get(turn.replaces)}
            found.append({name: getattr(turn, name) for name in names} | links)
    for given in store.feedback():
        fields = {name: getattr(given, name) for name in ("key", "kind", "value", "extra", "created")}
        about = [keys[number] for number in given.turns]
        found.append(fields | {"person": (given.person.name, given.person.created), "turns": about})
    return sorted(found, key=lambda record: record["key"])


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_trajectories_hold_everything(talked, tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("datasets")
    file = tmp_path / f"all.{ending}"
    write_rows(file, export_rows(talked, "trajectories").rows)
    with FeedbackStore(tmp_path / "again.db") as again:
        again.person("somebody else")  # ids differ
        assert import_rows(again, read_rows(file)) == talked.size() == (5, 9, 13)
        assert contents(again) == contents(talked)
        assert import_rows(again, read_rows(file)) == (0, 0, 0)


def test_every_format_gives_the_same_rows_after_a_round_trip(talked, tmp_path):
    for name in FORMATS:
        rows, file = export_rows(talked, name).rows, tmp_path / f"{name}.jsonl"
        write_rows(file, rows)
        with FeedbackStore(tmp_path / f"{name}.db") as again:
            import_rows(again, read_rows(file))
            assert export_rows(again, name).rows == read_rows(file) == rows


def columns(store, format, *names):
    return [tuple(row[name] for name in names) for row in export_rows(store, format).rows]


def said(*texts):
    """Messages of the user and the assistant in turn."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def by(text):
    return [{"role": "assistant", "content": text}]


def test_trls_columns(talked):
    asked, film = said("Any good \x00films?"), said("The film")
    alien, bambi, drafted = by("Alien! Or not."), by("Bambi"), by("Bambi, of course")
    assert columns(talked, "preference", "prompt", "chosen", "rejected") == [
        (asked, alien, bambi),
        (asked, bambi, alien),
        (asked, bambi, drafted),
        (asked, alien, drafted),
        (asked, by("Alien."), alien),
        (film, by(" is good"), by(" is bad")),
    ]
    later = said("Any good \x00films?", "Alien! Or not.", "thanks")
    assert columns(talked, "unpaired", "prompt", "completion", "label", "person") == [
        (asked, alien, True, "ada"),
        (later, by("bye"), False, "ada"),
        (asked, alien, True, "bob"),
    ]
    assert export_rows(talked, "unpaired").left_out == 1  # the rating 0
    assert export_rows(talked, "unpaired").rows[0]["margin"] == 0.5
    assert columns(talked, "prompt-completion", "prompt", "completion") == [
        (asked, alien),
        (asked, alien),
        (asked, by("Alien.")),
    ]
    assert columns(talked, "stepwise", "prompt", "completions", "labels") == [
        ("Any good \x00films?", ["Alien!", " Or ", "not."], [True, True, False]),
        ("Any good \x00films?", ["Alien! Or not.", "thanks\nbye"], [True, False]),
    ]
    talk, one, _, unanswered, _ = export_rows(talked, "trajectories").rows
    assert talk["messages"] == said("Any good \x00films?", "Alien! Or not.", "thanks", "bye")
    assert (talk["tokens"], talk["turns"], talk["logprobs"]) == (
        [1, 2, 44, 7, 9, 5],
        [[2, 4], [5, 6]],
        [-0.1, -2.5e-17, -1.0],
    )
    assert (one["prompt"], one["text"], one["reward"]) == ("The film", " is bad", 0.0)
    assert "prompt" not in unanswered and [said["role"] for said in unanswered["messages"]] == ["system", "user"]


def test_without_people_who_talk_prompts_are_texts(store):
    one, two = (store.add_turn(store.begin_dialogue(None, opening="The film"), "agent", x) for x in (" a", " b"))
    other = store.add_turn(store.begin_dialogue(None, opening="The book"), "agent", " c")
    ada = store.person("ada")
    store.add_feedback("preference", ada, (one, two))
    store.add_feedback("preference", ada, (one, other))
    rows, left_out = export_rows(store, "preference")
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in rows] == [("The film", " a", " b")]
    assert left_out == 1  # the texts answer different prompts


def test_what_people_say_of_their_own_words_trains_nobody(store):
    ada = store.person("ada")
    asked = store.add_turn(store.begin_dialogue(ada), "user", "Hello")
    answer = store.add_turn(asked.dialogue, "agent", "Hi there", after=asked)
    other = store.add_turn(asked.dialogue, "user", "Hullo", beside=asked)
    own = [("rating", asked, 4), ("thumbs", other, 1), ("correction", asked, "Good day")]
    own += [("span", asked, {"start": 0, "end": 2, "good": False})]
    own += [
        ("preference", (answer, asked), None),
        ("preference", (asked, other), None),
        ("ranking", (other, asked), None),
    ]
    for kind, turns, value in own:
        store.add_feedback(kind, ada, turns, value)
    with pytest.raises(ValueError, match=r"nothing for the format preference: .* 4 of which do not fit"):
        export_rows(store, "preference")
    store.add_feedback("rating", ada, answer, 2)
    store.add_feedback("correction", ada, answer, "Hi")
    store.add_feedback("span", ada, answer, {"start": 3, "end": 8, "good": False})
    hello, hi = said("Hello"), by("Hi there")
    assert columns(store, "preference", "prompt", "chosen", "rejected") == [(hello, by("Hi"), hi)]
    assert columns(store, "unpaired", "prompt", "completion", "label") == [(hello, hi, True)]
    assert columns(store, "prompt-completion", "prompt", "completion") == [(hello, hi), (hello, by("Hi"))]
    assert columns(store, "stepwise", "completions", "labels") == [(["Hi ", "there"], [True, False])]
    assert {name: export_rows(store, name).left_out for name in FORMATS} == {
        "preference": 4, "unpaired": 2, "prompt-completion": 3, "stepwise": 1, "trajectories": 0,
    }  # fmt: skip
    [row] = export_rows(store, "trajectories").rows
    assert len(json.loads(row["record"])["feedback"]) == 10  # nothing of it is lost


def test_trajectories_are_episodes(talked, tmp_path):
    write_rows(tmp_path / "episodes.jsonl", export_rows(talked, "trajectories").rows)
    talk, one, two = read_episodes(tmp_path / "episodes.jsonl")
    assert talk.completions == ("Alien! Or not.", "bye") and talk.example.prompt == "Any good \x00films?"
    assert [answer.rating for answer in talk.feedback] == [3.0, -2.0]
    assert talk.tokens.logprobs == [-0.1, -2.5e-17, -1.0] and talk.tokens.model == "dialogue-lm"
    assert (one.completions, one.reward, two.reward) == ((" is bad",), 0.0, None)


def test_a_candidate_that_was_preferred_is_on_the_line(store, answers):
    store.add_feedback("preference", store.person("ada"), (answers[1], answers[2]))
    [row] = export_rows(store, "trajectories").rows
    assert row["messages"][-1]["content"] == "Bambi"


def test_what_is_not_there_is_said(store, answers):
    with pytest.raises(ValueError, match="nothing for the format preference: it holds 1 dialogues and no feedback"):
        export_rows(store, "preference")
    store.add_feedback("words", store.person("ada"), answers[0], "good")
    with pytest.raises(ValueError, match="feedback of the kinds words"):
        export_rows(store, "unpaired")
    with pytest.raises(ValueError, match="format is 'csv', expected one of preference, unpaired"):
        export_rows(store, "csv")


FOREIGN = {
    "preference": [
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green.", "margin": 0.5},
        {"prompt": said("What?"), "chosen": by("Blue."), "rejected": by("Green.")},
    ],
    "unpaired": [
        {"prompt": "The sky is", "completion": " blue.", "label": True},
        {"prompt": "The sky is", "completion": " green.", "label": False, "source": "web"},
        {"prompt": "The sky is", "completion": " blue.", "label": True},
    ],
    "prompt-completion": [{"prompt": said("What?", "That.", "And?"), "completion": by("Blue.")}],
    "stepwise": [{"prompt": "Is 9 prime?", "completions": ["9 = 3 * 3.", "So it is."], "labels": [True, False]}],
}


@pytest.mark.parametrize("name", list(FOREIGN))
def test_data_sets_of_others_come_back_as_they_were(store, name):
    rows = [row for row in FOREIGN[name] if isinstance(row["prompt"], str)] or FOREIGN[name]
    import_rows(store, rows)
    back = export_rows(store, name).rows
    assert [{column: found[column] for column in row} for row, found in zip(rows, back, strict=True)] == rows
    import_rows(store, rows)
    assert export_rows(store, name).rows == back


def test_implicit_prompts_are_found(store):
    import_rows(store, [
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        {"chosen": "yes", "rejected": "no"},
    ])  # fmt: skip
    assert columns(store, "preference", "prompt", "chosen", "rejected") == [
        ("The sky is", " blue.", " green."),
        ("", "yes", "no"),
    ]


def test_implicit_prompts_of_messages_are_found(store):
    import_rows(store, [{"chosen": said("What?", "Blue."), "rejected": said("What?", "Green.")}])
    assert columns(store, "preference", "prompt", "chosen", "rejected") == [(said("What?"), by("Blue."), by("Green."))]


def test_comparisons_of_summaries(store):
    row = {
        "info": {"id": "t3_1", "post": "My cat", "title": "Help", "subreddit": "cats"},
        "summaries": [{"text": " Cat.", "policy": "sup2", "note": "n"}, {"text": " My cat.", "policy": "ref"}],
        "choice": 1,
        "worker": "w7",
        "batch": "b1",
        "extra": {"confidence": 5},
    }
    import_rows(store, [row])
    [given] = store.feedback()
    better, worse = map(store.turn, given.turns)
    assert (given.kind, given.person.name, better.text, worse.text) == ("preference", "w7", " My cat.", " Cat.")
    assert (better.model, worse.model, worse.sampling) == (ModelStamp("ref"), ModelStamp("sup2"), {"note": "n"})
    talk = store.dialogue(better.dialogue)
    assert talk.opening == "SUBREDDIT: r/cats\nTITLE: Help\nPOST: My cat\nTL;DR:" and talk.settings == {
        "info": row["info"]
    }
    assert given.extra == {"columns": {"batch": "b1", "extra": {"confidence": 5}}}


def test_episodes_are_imported_with_their_ratings(store):
    import_rows(store, [
        {"prompt": "Hi", "dialogue": [{"role": "agent", "text": "Ho"}, {"role": "user", "text": "no", "rating": -2}]},
        {"prompt": "The film", "text": " is good", "reward": 3, "policy": "trained"},
        {"messages": said("Hello", "Hi")},
    ])  # fmt: skip
    assert [(given.kind, given.value) for given in store.feedback()] == [("rating", -2.0), ("rating", 3.0)]
    assert [[turn.text for turn in store.turns(talk)] for talk in store.dialogues()] == [
        ["Ho", "no"],
        [" is good"],
        ["Hello", "Hi"],
    ]


@pytest.mark.parametrize(
    "row, message",
    [
        ({}, "its columns are none, expected info, summaries, choice; or chosen, rejected"),
        ({"prompt": "p", "chosen": 5, "rejected": "r"}, "chosen is '5', expected a text"),
        ({"prompt": 5, "chosen": "c", "rejected": "r"}, "prompt is '5', expected a text or a list"),
        ({"prompt": [{"role": "tool", "content": ""}], "chosen": "c", "rejected": "r"}, "role is 'tool'"),
        ({"prompt": [{"content": ""}], "chosen": "c", "rejected": "r"}, "'role' is missing"),
        ({"completion": "c", "label": 1}, "label is 1, expected true or false"),
        ({"completions": ["c"], "labels": []}, "1 completions and labels"),
        ({"prompt": "p", "text": "t", "reward": 9}, "rating is 9, expected a number from -4 to 4"),
        ({"info": {}, "summaries": [{"text": "a"}], "choice": 1}, "choice is 1 of 1 summaries"),
        ({"record": "nonsense"}, "Expecting value"),
        ({"record": "{}"}, "'people' is missing"),
        ({"chosen": "c", "rejected": ["r"]}, "two texts or two lists"),
        ({"prompt": "p", "completion": "c", "person": ["x"]}, "a person's name is"),
    ],
)
def test_a_row_that_makes_no_sense_is_named_and_nothing_is_imported(store, row, message):
    good = {"prompt": "p", "chosen": "c", "rejected": "r"}
    with pytest.raises(ValueError, match=rf"pairs\.jsonl, row 2: .*{message}"):
        import_rows(store, [good, row], source="pairs.jsonl")
    assert store.size() == (0, 0, 0)


def test_files_that_cannot_be_read_are_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    for text, message in ((b'{"a": 1}\n[1]', r"line 2: '\[1\]', expected a JSON object"), (b"\xff", "is no UTF-8 text"),
                          (b'{"a":', "line 1: no JSON")):  # fmt: skip
        file.write_bytes(text)
        with pytest.raises(ValueError, match=message):
            read_rows(file)
    with pytest.raises(ValueError, match=r"has the ending '\.csv', expected \.jsonl or \.parquet"):
        write_rows(tmp_path / "rows.csv", [])
    with pytest.raises(FileNotFoundError, match="no file"):
        read_rows(tmp_path / "none.jsonl")
    file.write_text('\ufeff{"text": "a\u2028b"}\n\n', encoding="utf-8")
    assert read_rows(file) == [{"text": "a\u2028b"}]


def test_a_parquet_file_that_is_none_is_named(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "rows.parquet").write_text("text")
    with pytest.raises(ValueError, match=r"rows\.parquet cannot be read as parquet"):
        read_rows(tmp_path / "rows.parquet")


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"nodir is no folder: make it, or write rows\.jsonl to another"):
        write_rows(tmp_path / "nodir" / "rows.jsonl", [])
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"folder\.jsonl is a folder, expected the name of a file"):
        write_rows(tmp_path / "folder.jsonl", [])

    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"/rows\.jsonl cannot be written: No space left on device") as error:
        write_rows(tmp_path / "rows.jsonl", [])
    assert ".tmp" not in str(error.value) and [path.name for path in tmp_path.iterdir()] == ["folder.jsonl"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "rows.jsonl"
    write_rows(file, [{"a": 1}])
    with pytest.raises(ValueError):
        write_rows(file, [{"a": float("nan")}])
    assert json.loads(file.read_text()) == {"a": 1} and [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
