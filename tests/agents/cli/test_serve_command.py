"""`dyngen serve` that cannot serve leaves nothing behind."""

from __future__ import annotations

import socket

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install starlette uvicorn")

from dyngen_agents.cli.main import main


def test_what_cannot_be_served_makes_no_store(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        assert main(["serve", "dialogue-lm", "--store", "new.db", "--port", port]) == 1
    assert f"127.0.0.1:{port} cannot be served" in capsys.readouterr().err
    assert main(["serve", "./nomodel", "--store", "new.db", "--port", "0"]) == 2
    assert "nomodel" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("my notes " * 200)
    assert main(["serve", "./nomodel", "--store", "notes.txt", "--port", "0"]) == 2
    assert "notes.txt is no feedback store" in capsys.readouterr().err  # said before the model is looked for
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
