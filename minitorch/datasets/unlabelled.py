"""Public data without labels: a text, a list of names, Wikipedia's articles, and ratings of films.

Files are found, and checked, as in `labelled`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from . import sources
from .corpus import TextFileCorpus
from .labelled import Root, _decoded, _lines, _malformed, _rows

__all__ = ["MovieLens", "enwiki", "movielens", "names", "tinyshakespeare"]


def tinyshakespeare(root: Root = None, *, check: bool = True) -> str:
    """Plays of Shakespeare: 1,115,394 characters, 65 distinct."""
    return _decoded(sources.find("tinyshakespeare", "input.txt", root, check=check))


def names(root: Root = None, *, check: bool = True) -> list[str]:
    """32,033 first names in the letters a to z; some are there twice."""
    path = sources.find("names", "names.txt", root, check=check)
    lines = _lines(path)
    for number, name in enumerate(lines, 1):
        if not re.fullmatch("[a-z]+", name):
            raise _malformed(path, number, "a name in the letters a to z", name)
    return lines


def enwiki(root: Root = None, *, check: bool = True) -> TextFileCorpus:
    """7,159 articles of the English Wikipedia, as a corpus that is streamed from the file."""
    return TextFileCorpus(sources.find("enwiki", "enwiki.txt", root, check=check))


@dataclass(frozen=True)
class MovieLens:
    """Who rated what: column i of the first four is one rating, and so on for tags and movies.

    users, movies: int64 (R,), the data set's own ids; ratings: float32 (R,), 0.5 to 5; times: int64 (R,), in seconds
    movie_ids: int64 (M,), ascending; titles: M strings with the year; genres: M lists
    tag_users, tag_movies, tag_times: int64 (T,); tags: T strings
    """

    users: np.ndarray
    movies: np.ndarray
    ratings: np.ndarray
    times: np.ndarray
    movie_ids: np.ndarray
    titles: list[str]
    genres: list[list[str]]
    tag_users: np.ndarray
    tag_movies: np.ndarray
    tags: list[str]
    tag_times: np.ndarray

    def __len__(self) -> int:
        return len(self.ratings)


def _columns(path: str, kinds: Mapping[str, Callable]) -> list[list]:
    """The columns of a csv file with a header, each made of its strings by int, float or str."""
    rows = []
    for number, row in _rows(path, list(kinds)):
        try:
            rows.append([kind(cell) for kind, cell in zip(kinds.values(), row, strict=True)])
        except ValueError as error:
            raise _malformed(path, number, ", ".join(f"{n}: {k.__name__}" for n, k in kinds.items()), row) from error
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in kinds]


def movielens(root: Root = None, *, check: bool = True) -> MovieLens:
    """MovieLens, the small one: 100,836 ratings of 610 users, 9,742 movies with genres, 3,683 tags."""
    columns: dict[str, dict[str, Callable]] = {
        "ratings.csv": {"userId": int, "movieId": int, "rating": float, "timestamp": int},
        "movies.csv": {"movieId": int, "title": str, "genres": str},
        "tags.csv": {"userId": int, "movieId": int, "tag": str, "timestamp": int},
    }
    paths = {file: sources.find("ml-latest-small", file, root, check=check) for file in columns}
    tables = {file: _columns(path, columns[file]) for file, path in paths.items()}
    user, movie, rating, time = tables["ratings.csv"]
    movie_id, title, genre = tables["movies.csv"]
    tag_user, tag_movie, tag, tag_time = tables["tags.csv"]
    return MovieLens(
        users=np.array(user, np.int64),
        movies=np.array(movie, np.int64),
        ratings=np.array(rating, np.float32),
        times=np.array(time, np.int64),
        movie_ids=np.array(movie_id, np.int64),
        titles=title,
        genres=[[] if one == "(no genres listed)" else one.split("|") for one in genre],
        tag_users=np.array(tag_user, np.int64),
        tag_movies=np.array(tag_movie, np.int64),
        tags=tag,
        tag_times=np.array(tag_time, np.int64),
    )
