"""Tokenizers: texts to token ids and back, made from the training part and saved with a model.

Ids begin with the reserved tokens, always padding (0) and unknown (1), and start (2) and end (3)
where sequences are written token by token; the vocabulary follows. A tokenizer is all in its
`get_config()`, which JSON holds; `from_config` makes it again in any process.

Levels:
    characters: one token a Unicode code point, as they stand.
    words: lower-cased; punctuation and the endings n't, 's, 've, 're, 'd, 'll, 'm are tokens of
        their own, as in Kim 2014 (https://arxiv.org/abs/1408.5882), who also drops all that is
        neither Latin letter, digit nor one of ( ) , ! ? '; here it is kept.
    cased_words: likewise, but in upper and lower case as they stand, as Kim 2014 reads TREC.
    bytes: the 256 bytes of UTF-8; nothing is unknown.
    bpe: byte-pair encoding of these bytes after Sennrich 2016 and GPT-2 (Radford 2019), by the
        `tokenizers` package; nothing is unknown.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check, unknown
from recipes.contract.arguments import check_vocabulary

SPECIALS = ("padding", "unknown")
SEQUENCE_SPECIALS = (*SPECIALS, "start", "end")
LEVELS = ("words", "cased_words", "characters", "bytes", "bpe")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what an unknown token is decoded to

# Punctuation and symbols: ASCII, Latin-1, Arabic, Devanagari, general, currencies, CJK, full-width.
# Combining marks and joiners are left inside of words, which Python's \w does not do.
_MARKS = (
    r"!-/:-@\[-`{-~\u00a1-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u060c\u061b\u061f\u06d4"
    r"\u0964\u0965\u2010-\u2027\u2030-\u205e\u20a0-\u20c0\u3001-\u3003\u3008-\u3020\u30fb"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_ENDING = r"(?:n't|'(?:s|ve|re|d|ll|m))"
_WORD = re.compile(rf"{_ENDING}(?![^\s{_MARKS}])|[^\s{_MARKS}]+?(?=n't(?![^\s{_MARKS}]))"
                   rf"|[^\s{_MARKS}]+|[{_MARKS}]", re.IGNORECASE)  # fmt: skip
# Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without spaces between words.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


class Tokenizer:
    """Texts to token ids and back; each level is a class of its own.

    Args:
        vocabulary: tokens by id, after the reserved ones.
        specials: the reserved tokens: ids 0, 1, ...; () for the vocabulary of a model from
            elsewhere, such as GPT-2's, whose ids begin with its own tokens.
    """

    level = ""

    def __init__(self, vocabulary: Sequence[str], specials: Sequence[str] = SPECIALS):
        wanted = f"must be the first of {', '.join(SEQUENCE_SPECIALS)}"
        known = tuple(specials) == SEQUENCE_SPECIALS[: len(specials)]
        check(known, "specials", specials, wanted)
        twice = [token for token, n in Counter(vocabulary).items() if n > 1]
        check(not twice, "vocabulary", twice[:5], "holds a token more than once")
        self.vocabulary, self.specials = list(vocabulary), tuple(specials)

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, the reserved ones included."""
        return len(self.specials) + len(self.vocabulary)

    def special(self, name: str) -> int:
        """The id of a reserved token: "padding", "unknown", "start" or "end".

        Raises:
            ValueError: this tokenizer has no such token.
        """
        if name not in self.specials:
            raise unknown("reserved token", name, self.specials)
        return self.specials.index(name)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id, without the reserved ones."""
        return {token: i for i, token in enumerate(self.vocabulary, len(self.specials))}

    def encode(self, text: str, strict: bool = False) -> list[int]:
        """A text's token ids, without start and end.

        Args:
            text: any.
            strict: a token outside of the vocabulary is an error, instead of unknown.

        Raises:
            ValueError: `strict`, and a token is not known.
        """
        check(isinstance(text, str), "text", text, "must be a text")
        tokens = self._split(text)
        if strict or "unknown" not in self.specials:
            for token in tokens:
                wanted = (
                    f"is not among the {len(self.vocabulary)} {self.level} that this model knows"
                )
                check(token in self.ids, "token", token, wanted)
            return [self.ids[token] for token in tokens]
        other = self.special("unknown")
        return [self.ids.get(token, other) for token in tokens]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """`encode` of several texts."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; padding, start and end are left out.

        Raises:
            ValueError: an id outside of the vocabulary.
        """
        return self._join(self.tokens(ids))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids, one each; padding, start and end are left out."""
        found, offset = [], len(self.specials)
        for i in np.asarray(list(ids), "int64").tolist():
            inside = 0 <= i < self.vocabulary_size
            check(inside, "id", i, f"must be in 0 .. {self.vocabulary_size - 1}")
            if i >= offset:
                found.append(self.vocabulary[i - offset])
            elif self.specials[i] == "unknown":
                found.append(REPLACEMENT)
        return found

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs, as JSON holds it."""
        config = {"level": self.level, "vocabulary": self.vocabulary}
        return {**config, "specials": list(self.specials)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.get_config() == other.get_config()

    __hash__ = None

    def _split(self, text: str) -> Sequence[str]:
        raise NotImplementedError

    def _join(self, tokens: Sequence[str]) -> str:
        return "".join(tokens)


class CharacterTokenizer(Tokenizer):
    """One token a code point; lossless where all are known."""

    level = "characters"

    def _split(self, text: str) -> str:
        return text


class CasedWordTokenizer(Tokenizer):
    """Words and punctuation marks; `decode` spaces them as English does."""

    level = "cased_words"

    def _split(self, text: str) -> list[str]:
        return _WORD.findall(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))

    def _join(self, tokens: Sequence[str]) -> str:
        text = re.sub(rf" (?=[.,!?;:)\]}}%]|(?i:{_ENDING})(?: |$))", "", " ".join(tokens))
        return re.sub(r"(?<=[(\[{]) ", "", text)


class WordTokenizer(CasedWordTokenizer):
    """Likewise, lower-cased."""

    level = "words"

    def _split(self, text: str) -> list[str]:
        return super()._split(text.lower())


class ByteTokenizer(Tokenizer):
    """The bytes of UTF-8; lossless."""

    level = "bytes"

    def __init__(self, vocabulary: Sequence[str] = (), specials: Sequence[str] = SPECIALS):
        super().__init__([f"{byte:02x}" for byte in range(256)], specials)

    def encode(self, text: str, strict: bool = False) -> list[int]:
        """A text's bytes, as ids."""
        check(isinstance(text, str), "text", text, "must be a text")
        return [byte + len(self.specials) for byte in text.encode()]

    def _join(self, tokens: Sequence[str]) -> str:
        known = (token for token in tokens if token != REPLACEMENT)
        return bytes(int(token, 16) for token in known).decode(errors="replace")

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs."""
        return {"level": self.level, "specials": list(self.specials)}


class BPETokenizer(Tokenizer):
    """Byte-pair encoding as GPT-2 has it; lossless.

    Args:
        vocabulary: tokens by id, in GPT-2's letters for the bytes, as in its `vocab.json`.
        merges: pairs of tokens that become one, the first first, as in its `merges.txt`.
        specials: the reserved tokens.
    """

    level = "bpe"

    def __init__(
        self,
        vocabulary: Sequence[str],
        merges: Sequence[Sequence[str]],
        specials: Sequence[str] = SPECIALS,
    ):
        super().__init__(vocabulary, specials)
        self.merges = [list(pair) for pair in merges]

    @classmethod
    def from_files(cls, vocabulary: str | Path, merges: str | Path) -> "BPETokenizer":
        """GPT-2's own: ids as in `vocab.json`, none reserved, and the pairs of `merges.txt`.

        Raises:
            ValueError: a file that is not there or not of this form, or ids with gaps.
        """
        for path in map(Path, (vocabulary, merges)):
            check(path.is_file(), "path", str(path), "no such file")
        try:
            ids = json.loads(Path(vocabulary).read_text("utf-8"))
            order = sorted(ids, key=ids.get)
            lines = Path(merges).read_text("utf-8").split("\n")
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"{vocabulary}: not a vocabulary of GPT-2's form ({error})") from None
        whole = [ids[token] for token in order] == list(range(len(order)))
        check(whole, "vocabulary", str(vocabulary), "its ids must be 0, 1, ... without gaps")
        pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
        check(all(len(p) == 2 for p in pairs), "merges", str(merges), "needs two tokens a line")
        return cls(order, pairs, specials=())

    @cached_property
    def _model(self) -> Any:
        import tokenizers

        pairs = [tuple(pair) for pair in self.merges]
        model = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=self.ids, merges=pairs))
        model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = tokenizers.decoders.ByteLevel()
        return model

    def encode(self, text: str, strict: bool = False) -> list[int]:
        """A text's token ids; no text has an unknown one."""
        check(isinstance(text, str), "text", text, "must be a text")
        return self._model.encode(text).ids

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """`encode` of several texts, on all cores."""
        return [found.ids for found in self._model.encode_batch(list(texts))]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; the reserved ones are left out."""
        ids = np.asarray(list(ids), "int64").tolist()
        for i in ids:
            inside = 0 <= i < self.vocabulary_size
            check(inside, "id", i, f"must be in 0 .. {self.vocabulary_size - 1}")
        return self._model.decode([i for i in ids if i >= len(self.specials)])

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs."""
        return {**super().get_config(), "merges": self.merges}


_CLASSES = {
    made.level: made
    for made in (
        WordTokenizer,
        CasedWordTokenizer,
        CharacterTokenizer,
        ByteTokenizer,
        BPETokenizer,
    )
}


def from_config(config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a `get_config()`.

    Raises:
        ValueError: an unknown level.
    """
    given = dict(config)
    level = given.pop("level", None)
    if level not in _CLASSES:
        raise unknown("level", level, LEVELS)
    return _CLASSES[level](**given)


def level_of(texts: Iterable[str]) -> str:
    """ "characters" where most letters are of a writing without spaces, otherwise "words"."""
    letters = without = 0
    for text in texts:
        letters += sum(map(str.isalpha, text))
        without += len(_WITHOUT_SPACES.findall(text))
    return "characters" if 2 * without > letters else "words"


def check_level(level: str, known: Sequence[str] = LEVELS) -> None:
    """Raise where a level does not exist."""
    if level not in known:
        raise unknown("level", level, known)


def train(
    texts: Iterable[str],
    level: str,
    *,
    vocabulary_size: int | None = None,
    min_count: int = 1,
    specials: Sequence[str] = SPECIALS,
) -> Tokenizer:
    """A tokenizer made from texts, which should be those of the training part alone.

    Args:
        texts: any.
        level: one of `LEVELS`.
        vocabulary_size: most ids, the reserved ones included: the most frequent words or
            characters stay; of "bpe" the number of ids to reach, default 8,000.
        min_count: words or characters that occur less often become unknown.
        specials: the reserved tokens.

    Raises:
        ValueError: an unknown level, or a vocabulary that is too small for it.
    """
    check_level(level)
    check_vocabulary({"vocabulary_size": vocabulary_size}, optional=("vocabulary_size",))
    whole = isinstance(min_count, int) and not isinstance(min_count, bool) and min_count >= 1
    check(whole, "min_count", min_count, "must be a positive integer")
    check(level != "bytes" or vocabulary_size is None, "vocabulary_size", vocabulary_size,
          f"bytes have {256 + len(specials)} ids, always")  # fmt: skip
    least = len(specials) + (256 if level == "bpe" else 1)
    enough = vocabulary_size is None or vocabulary_size >= least
    wanted = f"must be at least {least} for level={level!r}, of which {len(specials)} are reserved"
    check(enough, "vocabulary_size", vocabulary_size, wanted)
    if level == "bytes":
        return ByteTokenizer(specials=specials)
    if level == "bpe":
        return _train_bpe(texts, vocabulary_size or 8_000, specials)
    make = _CLASSES[level]
    split, counts = make((), specials)._split, Counter()
    for text in texts:
        counts.update(split(text))
    # The most frequent first; the tokens' own order decides among equals.
    found = sorted((-n, token) for token, n in counts.items() if n >= min_count)
    room = None if vocabulary_size is None else vocabulary_size - len(specials)
    return make([token for _, token in found[:room]], specials)


def _train_bpe(texts: Iterable[str], vocabulary_size: int, specials: Sequence[str]) -> BPETokenizer:
    import tokenizers

    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(specials),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    found = json.loads(model.to_str())["model"]
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in found["merges"]]
    return BPETokenizer(sorted(found["vocab"], key=found["vocab"].get), merges, specials)
