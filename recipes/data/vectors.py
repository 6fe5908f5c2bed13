"""Vectors of words: searched, written and read in the text format of word2vec.c."""

import difflib
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path

import numpy as np

from recipes.contract import check


class Vectors:
    """Words and their vectors, to be searched, written and read.

    Args:
        words: each once, the most frequent first.
        array: (n, hidden_dim) float32.
    """

    def __init__(self, words: Sequence[str], array: np.ndarray):
        self.words, self.array = list(words), np.asarray(array, "float32")
        self.ids = {word: i for i, word in enumerate(self.words)}
        fits = self.array.ndim == 2 and len(self.array) == len(self.words)
        wanted = f"must have one row for each of {len(self.words)} words"
        check(fits, "array", f"array of shape {self.array.shape}", wanted)
        check(len(self.ids) == len(self.words), "words", len(self.words), "must differ")

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, word: str) -> np.ndarray:
        """A word's vector, (hidden_dim,).

        Raises:
            ValueError: an unknown word; names those that are spelt like it.
        """
        return self.array[self._id(word)]

    def _id(self, word: str) -> int:
        if word not in self.ids:
            near = difflib.get_close_matches(str(word), self.words, n=3)
            hint = f"; spelt like it: {', '.join(near)}" if near else ""
            wanted = f"is not among the {len(self.words)} words of this model{hint}"
            check(False, "word", word, wanted)
        return self.ids[word]

    @property
    def directions(self) -> np.ndarray:
        """The vectors scaled to length 1, (n, hidden_dim)."""
        return self.array / np.maximum(np.linalg.norm(self.array, axis=1, keepdims=True), 1e-12)

    def most_similar(self, word: str | np.ndarray, top_n: int = 10) -> list[tuple[str, float]]:
        """The words whose vectors have the smallest angle to a word's, or to a vector.

        Args:
            word: a word, which is left out itself, or a vector (hidden_dim,).
            top_n: how many.

        Returns:
            Words with the cosines, the greatest first.

        Raises:
            ValueError: an unknown word, or a vector of another size.
        """
        if isinstance(word, str):
            return self._nearest(self[word], [word], top_n)
        vector = np.asarray(word, "float32")
        wanted = f"must be a word, or a vector of {self.array.shape[1]} finite numbers"
        ok = vector.shape == self.array.shape[1:] and np.isfinite(vector).all()
        check(ok, "word", f"array of shape {vector.shape}", wanted)
        return self._nearest(vector, [], top_n)

    def analogy(self, a: str, b: str, c: str, top_n: int = 5) -> list[tuple[str, float]]:
        """What is to c as b is to a: the words nearest to b - a + c, all of length 1.

        3CosAdd of Mikolov, Yih & Zweig 2013; the three words themselves are left out.

        Returns:
            Words with the cosines, the greatest first.

        Raises:
            ValueError: an unknown word.
        """
        a_, b_, c_ = (self.directions[self._id(word)] for word in (a, b, c))
        return self._nearest(b_ - a_ + c_, [a, b, c], top_n)

    def similarity(self, a: str, b: str) -> float:
        """The cosine of the angle between the vectors of two words."""
        a, b = self[a], self[b]
        return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))

    def _nearest(self, vector, without, top_n) -> list[tuple[str, float]]:
        whole = isinstance(top_n, Integral) and not isinstance(top_n, bool) and top_n >= 1
        check(whole, "top_n", top_n, "must be a positive integer")
        cosines = self.directions @ (vector / max(np.linalg.norm(vector), 1e-12))
        cosines[[self.ids[word] for word in without]] = -np.inf
        order = np.argsort(-cosines, kind="stable")[: min(top_n, len(self) - len(without))]
        return [(self.words[i], float(cosines[i])) for i in order]

    def save(self, path: str | Path) -> Path:
        """Write the text format of word2vec.c: "words size", then a line for each word.

        Raises:
            ValueError: a word that holds a space or an end of line, which the format cannot hold.
        """
        for word in self.words:
            wanted = "the text format holds no words that are empty or have spaces in them"
            check(word and word.split() == [word], "word", word, wanted)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{len(self)} {self.array.shape[1]}\n")
            for word, vector in zip(self.words, self.array, strict=True):
                # 9 digits are enough to read the same float32 again.
                file.write(f"{word} {' '.join(f'{value:.9g}' for value in vector)}\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "Vectors":
        """Read the text format of word2vec.c, from whichever program.

        Raises:
            ValueError: no such file, or not of this format.
        """
        check(Path(path).is_file(), "path", str(path), "no such file")
        with open(path, encoding="utf-8") as file:
            try:
                count, size = map(int, file.readline().split())
                words, array = [], np.empty((count, size), "float32")
                for i, line in enumerate(file):
                    word, *numbers = line.rstrip("\n ").split(" ")
                    words.append(word)
                    array[i] = np.array(numbers, "float32").reshape(size)  # one is not spread
                if not np.isfinite(array).all():
                    raise ValueError("a number that is not finite")
                found = cls(words, array)
            except (ValueError, IndexError) as error:
                wanted = 'is not in the text format of word2vec: "words size", then a word and its'
                raise ValueError(f"path={str(path)!r}: {wanted} numbers a line ({error})") from None
        return found
