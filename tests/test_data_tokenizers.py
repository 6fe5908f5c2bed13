"""Tokenizers: round trips, vocabularies counted by hand, and the way back from JSON."""

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest

from recipes.data import tokenizers
from recipes.data.tokenizers import SEQUENCE_SPECIALS, BPETokenizer, from_config, level_of, train

TEXTS = ["the cat sat on the mat", "the dog sat", "a cat"]
# Accents composed and not, right-to-left, joiners, flags, unassigned and control characters.
UNICODE = [
    "",
    " two  spaces\tand\r\nlines \n\n",
    "naïve nai\u0308ve Straße İstanbul ŀ",
    "中文分詞 とカナ ภาษาไทย",
    "עברית العربية हिन्दी",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 🇨🇭 \U0010fffd \U000e0001",
    "\x00\x01\x7f\u0085\ufeff\ufffd\u2028",
    "<end> <pad> [UNK] <|endoftext|> Ġ Ċ",
    "".join(map(chr, range(0, 0xD800, 7))),
]


@pytest.mark.parametrize("text", UNICODE)
@pytest.mark.parametrize("level", ["bytes", "bpe"])
def test_bytes_and_bpe_lose_nothing_whatever_the_text(level, text):
    made = train(TEXTS, level, vocabulary_size=280 if level == "bpe" else None)
    ids = made.encode(text, strict=True)
    assert made.decode(ids) == text
    assert made.decode([0, *ids, 0]) == text  # padding is none of the text
    assert not set(ids) & {0, 1}
    assert made.encode_batch([text, "cat"]) == [ids, made.encode("cat")]


@pytest.mark.parametrize("text", UNICODE)
def test_characters_lose_nothing_where_all_are_known(text):
    made = train([text], "characters")
    assert made.decode(made.encode(text, strict=True)) == text
    assert made.vocabulary_size == 2 + len(set(text))


def test_bytes_are_those_of_utf8_after_the_reserved_ids():
    made = train([], "bytes")
    assert made.vocabulary_size == 258
    assert made.encode("é!") == [0xC3 + 2, 0xA9 + 2, ord("!") + 2]
    assert made.decode([0xC3 + 2]) == "\ufffd"  # half a character


def test_the_most_frequent_tokens_stay_and_come_first():
    made = train(TEXTS, "words")
    # the 3, cat 2, sat 2; a, dog, mat, on 1 each, in their own order
    assert made.vocabulary == ["the", "cat", "sat", "a", "dog", "mat", "on"]
    assert made.encode("the cat ate") == [2, 3, 1]
    assert train(TEXTS, "words", min_count=2).vocabulary == ["the", "cat", "sat"]
    capped = train(TEXTS, "words", vocabulary_size=4)
    assert capped.vocabulary == ["the", "cat"] and capped.vocabulary_size == 4
    assert train(["aab b"], "characters", min_count=2).vocabulary == ["a", "b"]


def test_start_and_end_follow_padding_and_unknown():
    made = train(TEXTS, "words", specials=SEQUENCE_SPECIALS)
    assert [made.special(name) for name in ("padding", "unknown", "start", "end")] == [0, 1, 2, 3]
    assert made.encode("the") == [4]
    assert made.decode([2, 4, 5, 1, 3, 0, 0]) == "the cat \ufffd"
    with pytest.raises(ValueError, match="unknown reserved token 'end'; known: padding, unknown"):
        train(TEXTS, "words").special("end")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's GOOD, isn't it?", "it 's good , is n't it ?"),
        ("they'll we've you're I'd I’m", "they 'll we 've you 're i 'd i 'm"),
        ("can't 'stop' 'sit'", "ca n't ' stop ' ' sit '"),
        ("rock-n-roll (1999): 3.5%!", "rock - n - roll ( 1999 ) : 3 . 5 % !"),
        ("l'homme n’est pas", "l ' homme n ' est pas"),
        ("¿Qué? «Oui» „nein“ — 10€", "¿ qué ? « oui » „ nein “ — 10 €"),
        ("हिन्दी में है।", "हिन्दी में है ।"),
        ("naive nai\u0308ve", "naive nai\u0308ve"),
        ("你好，世界。", "你好 ， 世界 。"),
    ],
)
def test_words(text, tokens):
    assert tokenizers.WordTokenizer([])._split(text) == tokens.split()


def test_cased_words_are_the_same_words_as_they_stand():
    text = "It's GOOD, ISN'T it? I’m \N{LATIN CAPITAL LETTER I WITH DOT ABOVE}z"
    cased = tokenizers.CasedWordTokenizer([])._split(text)
    assert cased == ["It", "'s", "GOOD", ",", "IS", "N'T", "it", "?", "I", "'m", "İz"]
    assert [token.lower() for token in cased] == tokenizers.WordTokenizer([])._split(text)
    made = train([text], "cased_words")
    assert made.vocabulary_size == 2 + len(set(cased))
    assert made.decode(made.encode("It's GOOD, ISN'T it?")) == "It's GOOD, ISN'T it?"


def test_words_are_put_together_as_english_is_written():
    text = "it's good (really), isn't it? 5% of them: yes!"
    made = train([text], "words")
    assert made.decode(made.encode(text)) == text


def merged(text: str, merges: int) -> list[bytes]:
    """Byte-pair encoding of one word by its definition: merge the most frequent pair."""
    parts = [bytes([b]) for b in text.encode()]
    for _ in range(merges):
        pairs = Counter(pairwise(parts))
        best = max(pairs, key=pairs.get)
        found, i = [], 0
        while i < len(parts):
            step = 2 if tuple(parts[i : i + 2]) == best else 1
            found.append(b"".join(parts[i : i + step]))
            i += step
        parts = found
    return parts


def test_bpe_merges_the_most_frequent_pair_first():
    word = "abcabcabdabcé"  # ab 4 times, then abc 3: no ties
    made = train([word], "bpe", vocabulary_size=258 + 2)
    ids = made.encode(word)
    assert [made.decode([i]).encode() for i in ids[:5]] == merged(word, 2)[:5]
    assert len(ids) == len(merged(word, 2)) == 7 and made.vocabulary_size == 260


def test_gpt2s_own_vocabulary_keeps_its_ids():
    # Its files count from "!" = 0, with no reserved ids; a space is written Ġ.
    letters = [chr(i) for i in range(33, 127)] + ["Ġ"]
    made = BPETokenizer([*letters, "Ġa", "Ġan"], [("Ġ", "a"), ("Ġa", "n")], specials=())
    assert made.encode("! an a") == [0, len(letters) + 1, len(letters)]
    assert made.decode(made.encode("! an a")) == "! an a"


@pytest.mark.slow  # the import of transformers
def test_gpt2s_files_are_read_as_transformers_reads_them(tmp_path):
    transformers = pytest.importorskip("transformers")
    made = train([*TEXTS, "the theatre, the other; isn't"], "bpe", vocabulary_size=290)
    paths = tmp_path / "vocab.json", tmp_path / "merges.txt"
    ids = {token: i for i, token in enumerate([*made.vocabulary, "<|endoftext|>"])}
    paths[0].write_text(json.dumps(ids), "utf-8")
    merges = "".join(f"{a} {b}\n" for a, b in made.merges)
    paths[1].write_text("#version: 0.2\n" + merges, "utf-8")
    ours = BPETokenizer.from_files(*paths)
    theirs = transformers.GPT2Tokenizer.from_pretrained(str(tmp_path))
    assert ours.vocabulary_size == made.vocabulary_size - 2 + 1
    for text in [*TEXTS, *(t for t in UNICODE if "<" not in t)]:
        assert ours.encode(text, strict=True) == theirs.encode(text)
        assert ours.decode(ours.encode(text)) == text
    with pytest.raises(ValueError, match=r"gone.: no such file"):
        BPETokenizer.from_files(tmp_path / "gone", paths[1])
    paths[0].write_text(json.dumps({"a": 0, "b": 2}))
    with pytest.raises(ValueError, match="without gaps"):
        BPETokenizer.from_files(*paths)


@pytest.mark.parametrize("level", tokenizers.LEVELS)
def test_a_fresh_process_makes_the_same_tokenizer_from_json(level):
    size = 270 if level == "bpe" else None
    made = train(TEXTS, level, vocabulary_size=size, specials=SEQUENCE_SPECIALS)
    config = json.dumps(made.get_config())
    text = "the cat on a mat"
    script = (
        "import json, sys; from recipes.data.tokenizers import from_config\n"
        "made = from_config(json.loads(sys.argv[1])); ids = made.encode(sys.argv[2])\n"
        "print(json.dumps([ids, made.decode(ids), made.vocabulary_size]))"
    )
    command = [sys.executable, "-c", script, config, text]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found == [made.encode(text), text, made.vocabulary_size]
    assert from_config(json.loads(config)) == made


def test_writings_without_spaces_are_taken_by_character():
    assert level_of(["今天天气很好", "好"]) == "characters"
    assert level_of(["นี่คือภาษาไทย"]) == "characters"
    assert level_of(["The word 好 means good"]) == "words"
    assert level_of(["한국어는 띄어쓰기를 한다"]) == "words"  # Korean has spaces
    assert level_of(["1234"]) == "words"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: train(TEXTS, "word"), "unknown level 'word'; known: words"),
        (lambda: from_config({"level": None}), "unknown level None"),
        (lambda: train(TEXTS, "words", min_count=0), "min_count=0: must be a positive integer"),
        (lambda: train(TEXTS, "words", vocabulary_size=2), "vocabulary_size=2: must be at least 3"),
        (lambda: train(TEXTS, "bpe", vocabulary_size=200), "=200: must be at least 258"),
        (lambda: train(TEXTS, "bytes", vocabulary_size=300), "bytes have 258 ids"),
        (lambda: train(TEXTS, "words").encode("a mouse", strict=True), "token='mouse': is not"),
        (lambda: train(TEXTS, "characters").encode("xyz", strict=True), "token='x'"),
        (lambda: train(TEXTS, "words").encode(3), "text=3: must be a text"),
        (lambda: train(TEXTS, "words").decode([9]), "id=9: must be in 0 .. 8"),
        (lambda: train(TEXTS, "bpe").decode([-1]), "id=-1"),
        (lambda: train(TEXTS, "words", specials=("start",)), "specials=('start',): must be"),
        (lambda: tokenizers.WordTokenizer(["a", "a"]), "vocabulary=['a']: holds a token more than"),
    ],
)  # fmt: skip
def test_bad_input(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value)
