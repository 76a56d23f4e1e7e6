"""`dyngen feedback`, `dyngen export` and `dyngen import`: tables, JSON, and what cannot be done."""

from __future__ import annotations

import json
import sqlite3

import pytest

from dyngen_agents.cli.main import main
from dyngen_agents.feedback.agreement import agreement
from dyngen_agents.feedback.exchange import read_rows
from dyngen_agents.feedback.store import KINDS, FeedbackStore

RATINGS = {"zoe": (3, -2, 1, 4), "bob": (2, -3, 1, 2), "[b]eve": (4, -2, 0, 3)}


@pytest.fixture
def file(tmp_path):
    """Four texts, rated by three people."""
    with FeedbackStore(tmp_path / "feedback.db") as store, store.at_once():
        turns = [store.add_turn(store.begin_dialogue(None, opening=f"p{i}"), "agent", f"t{i}") for i in range(4)]
        for name, values in RATINGS.items():
            for turn, value in zip(turns, values, strict=True):
                store.add_feedback("rating", store.person(name), turn, value)
        first = store.feedback()[0]
        store.used_by("runs/one", [first])
        store.enqueue("thumbs", turns[0], raters=2)
    return tmp_path / "feedback.db"


def answer(capsys, *arguments) -> dict:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_counts_and_agreement(file, capsys):
    pytest.importorskip("krippendorff")
    found = answer(capsys, "feedback", file)
    assert found["feedback"] == {"rating": dict.fromkeys(RATINGS, 4)} and found["people"] == list(RATINGS)
    assert (found["dialogues"], found["turns"], found["waiting"]) == (4, 4, {"thumbs": 1})
    with FeedbackStore(file) as store:
        assert found["agreement"]["rating"]["alpha"] == agreement(store.feedback(), "rating").alpha
    assert main(["feedback", str(file)]) == 0
    shown = capsys.readouterr().out
    assert (
        "3 people, 4 dialogues, 4 turns" in shown and "[b]eve" in shown and "1 texts wait for raters (thumbs)" in shown
    )


def test_all_kinds_fit_into_80_columns(file, capsys, monkeypatch):
    pytest.importorskip("krippendorff")
    monkeypatch.setenv("COLUMNS", "80")
    values = dict(rating=-4, thumbs=1, span={"start": 0, "end": 1, "good": True}, correction="x", words="y")
    with FeedbackStore(file) as store, store.at_once():
        who, (one, two) = store.person("q" * 40), (store.turn(1), store.turn(2))
        for kind in KINDS:
            about = (one, two) if kind in ("preference", "ranking") else one
            store.add_feedback(kind, who, about, values.get(kind))
    assert main(["feedback", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if "rating" in line).split() == list(KINDS)
    assert next(line for line in lines if "[b]eve" in line).split() == ["[b]eve", "4"]
    assert any(
        line.startswith("agreement in rating: α = ") and line.endswith("(4 texts by 4 people)") for line in lines
    )
    assert max(map(len, lines)) <= 80 and sum(line.count("q") for line in lines) == 40  # the whole name


def test_alpha_is_that_of_the_exported_table(file, capsys):
    krippendorff = pytest.importorskip("krippendorff")
    answer(capsys, "export", file, "--format", "trajectories")
    rows = read_rows(file.with_suffix(".trajectories.jsonl"))
    given = [
        (each["person"], row["text"], each["value"]) for row in rows for each in json.loads(row["record"])["feedback"]
    ]
    table = [[next(v for p, t, v in given if (p, t) == (person, f"t{i}")) for i in range(4)] for person in RATINGS]
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="interval")
    assert answer(capsys, "feedback", file)["agreement"]["rating"]["alpha"] == pytest.approx(expected, abs=1e-9)


def test_a_person_is_forgotten_and_the_runs_are_named(file, capsys, caplog):
    found = answer(capsys, "feedback", file, "--forget", "zoe")
    assert (found["feedback"], found["runs"], found["purged"]) == (4, ["runs/one"], True)
    assert "runs/one has learned from them: train it anew" in caplog.text
    assert b"zoe" not in file.read_bytes()
    again = answer(capsys, "feedback", file)
    assert again["people"] == ["bob", "[b]eve"] and again["forgotten"][0]["runs"] == ["runs/one"]


def test_out_and_in_again(file, tmp_path, capsys):
    written = answer(capsys, "export", file, "--format", "unpaired", "--out", tmp_path / "kto.jsonl")
    assert written == {"file": str(tmp_path / "kto.jsonl"), "rows": 11, "left_out": 1}
    assert read_rows(tmp_path / "kto.jsonl")[0]["completion"] == "t0"
    new = tmp_path / "new.db"
    assert answer(capsys, "import", tmp_path / "kto.jsonl", "--store", new) == dict(dialogues=4, turns=4, feedback=11)
    assert answer(capsys, "feedback", new)["feedback"]["rating"] == {"zoe": 4, "bob": 4, "[b]eve": 3}


def test_people_are_asked_about_episodes(tmp_path, capsys):
    episodes, file = tmp_path / "episodes.jsonl", tmp_path / "feedback.db"
    lines = [{"prompt": f"p{i % 2}", "text": f" t{i}", "policy": ("trained", "untrained")[i // 2]} for i in range(4)]
    episodes.write_text("\n".join(map(json.dumps, [*lines, lines[0]])))
    for _ in range(2):  # the second time adds nothing
        assert answer(capsys, "feedback", file, "--ask", episodes, "--raters", 2)["waiting"] == {"rating": 4}
    found = answer(capsys, "feedback", file, "--ask", episodes, "--kind", "preference")
    assert found["waiting"] == {"rating": 4, "preference": 2} and found["turns"] == 4
    with FeedbackStore(file) as store:
        lease = store.lease(store.person("zoe"), kind="preference")
        assert {store.turn(turn).model.name for turn in lease.task.turns} == {"trained", "untrained"}
        assert store.dialogue(store.turn(lease.task.turns[0]).dialogue).opening == "p0"


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["feedback", "none.db"], 2, "no feedback store"),
        (["feedback", "empty.db"], 2, "empty.db is empty, no feedback store"),
        (["feedback", "notes.txt"], 2, "is no feedback store"),
        (["feedback", "other.db"], 2, "a SQLite file of something else"),
        (["feedback", "feedback.db", "--forget", "nobody"], 2, "is called 'nobody'"),
        (["feedback", "feedback.db", "--forget", "zoe", "--ask", "x"], 2, "give one of them"),
        (["feedback", "new.db", "--ask", "no-such-run"], 2, "no-such-run"),
        (
            ["feedback", "new.db", "--ask", "one.jsonl", "--kind", "preference"],
            2,
            "none of 1 prompts has two different",
        ),
        (["export", "feedback.db", "--format", "unpaired", "--out", "nodir/x.jsonl"], 2, "nodir is no folder: make it"),
        (["export", "feedback.db"], 2, "nothing for the format preference: it holds 4 dialogues and feedback"),
        (["export", "feedback.db", "--format", "unpaired", "--out", "x.csv"], 2, "expected .jsonl or .parquet"),
        (["import", "none.jsonl", "--store", "new.db"], 2, "no file none.jsonl"),
        (["import", "bad.jsonl", "--store", "feedback.db"], 2, "bad.jsonl, row 1: label is 1"),
        (["import", "bad.jsonl", "--store", "new.db"], 2, "bad.jsonl, row 1: label is 1"),
    ],
)
def test_wrong_input_is_one_line(file, tmp_path, capsys, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("my notes " * 200)
    (tmp_path / "empty.db").touch()
    (tmp_path / "one.jsonl").write_text('{"prompt": "p", "text": "t"}')
    (tmp_path / "bad.jsonl").write_text('{"completion": "c", "label": 1}')
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    assert main(arguments) == code
    said = capsys.readouterr().err.strip()
    assert message in said and "\n" not in said
    assert not (tmp_path / "new.db").exists() and (tmp_path / "empty.db").stat().st_size == 0
