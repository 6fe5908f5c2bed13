"""The README's table is what the committed results say, and every family has its proof."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_table_is_written_from_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import readme

    text = (ROOT / "README.md").read_text("utf-8")
    assert readme.START in text
    assert readme.written(text) == text, "stale: run `python benchmarks/readme.py`"


def test_every_family_is_timed_against_a_peer(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import peers

    import recipes

    assert {case.family for case in peers.cases().values()} == set(recipes.families())
