"""What is said of a process in which nothing fires: once each, and anew after it has fired."""

from __future__ import annotations

from colotrace.silence import SILENCE_S, WAITING_HINT_S, Silence


def said(silence: Silence, hits: int, *moments: float) -> list[str | None]:
    notes = [silence.look(7, hits, moment) for moment in moments]
    return [note.event if note else None for note in notes]


def test_colo_that_has_not_begun() -> None:
    silence = Silence(since_s=100.0)
    assert said(silence, 0, 100.0, 102.9, 100 + WAITING_HINT_S, 110.0) == [None, None, "waiting", None]
    assert said(silence, 0, 100 + SILENCE_S, 200.0) == ["silent", None]


def test_colo_that_hangs() -> None:
    silence = Silence(since_s=100.0)
    assert said(silence, 5, 101.0, 129.0, 101 + SILENCE_S, 190.0) == [None, None, "silent", None]
    assert said(silence, 6, 200.0, 229.9, 230.0) == [None, None, "silent"], "it had gone on, and hangs again"
