"""The official rules of R@kt, written down a second time, and NLTK's sentence model, there or absent as tests need."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path


@functools.cache
def official_tokens(text: str) -> list[str]:
    from nltk.tokenize import word_tokenize

    try:
        return word_tokenize(text)
    except LookupError:
        return word_tokenize(text, preserve_line=True)


def official_hits(
    answers: Mapping[str, Sequence[str]],
    rankings: Mapping[str, Sequence[str]],
    texts: Mapping[str, str],
    budget: int,
    tokens_of=official_tokens,
) -> dict[str, bool]:
    """The published rules, written down plainly; rankings are lists of docids, best first."""
    hits = {}
    for query_id in answers:
        spans = [answer for answer in answers[query_id] if answer != "yes" and answer != "no"]
        if spans == []:
            continue
        collected = []
        for docid in rankings.get(query_id, []):
            for token in tokens_of(texts[docid]):
                collected.append(token)
            if len(collected) >= budget:
                break
        string = " ".join(collected[0:budget])
        hits[query_id] = True in [string.find(span) >= 0 for span in spans]
    return hits


def add_punkt(place: Path) -> None:
    """A punkt_tab model that knows nothing: sentences end at full stops before capitals."""
    model = place / "tokenizers" / "punkt_tab" / "english"
    model.mkdir(parents=True)
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (model / name).write_text("")


def forget_tokens() -> None:
    """Empty the caches that remember tokens, and whether NLTK's data was found."""
    from nltk import tokenize

    from pyserini_xqg.evaluate import answer_tokens

    answer_tokens.exact_tokens.cache_clear()
    answer_tokens.joined_tokens.cache_clear()
    official_tokens.cache_clear()
    getattr(getattr(tokenize, "_get_punkt_tokenizer", None), "cache_clear", lambda: None)()
