"""What is wrong with a configuration: collected, so that one run of ``hotswap check`` shows everything."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from hotswap.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_COMPARED = 200  # names: a guess is not worth more time


class Problem(NamedTuple):
    """One thing to mend.

    `line` counts from 1, 0 is the file as a whole; `key` is a path such as ``listeners[0].address``.
    """

    line: int
    key: str
    text: str

    def at(self, source: str) -> str:
        """``edge.yaml:12: listeners[0].address: what is wrong; what to write``, leaving out what is not known."""
        place = f"{source}:{self.line}" if self.line else source
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


class InvalidConfig(ConfigError):
    """The problems of one file; its text has a line for each."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.at(source) for problem in self.problems))


class Unfit(Exception):
    """A value does not fit its key; the text says why and what to write, without the place."""


class Problems:
    """The collection: errors forbid the use of the configuration, warnings do not."""

    __slots__ = ("errors", "warnings")

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, line: int, key: str, text: str) -> None:
        """Something has to be changed before this configuration can be used."""
        self.errors.append(Problem(line, key, text))

    def warn(self, line: int, key: str, text: str) -> None:
        """Something is legal and probably not meant."""
        self.warnings.append(Problem(line, key, text))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or nothing."""
    matches = get_close_matches(word[:64], [*islice(known, MOST_COMPARED)], n=1, cutoff=0.6)
    return matches[0] if matches else ""


def shown(text: str, limit: int = 60) -> str:
    """A quoted, shortened, single-line form of something a stranger wrote."""
    return repr(text if len(text) <= limit else text[:limit] + "...")
