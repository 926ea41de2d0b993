"""What a comparison may ask of a store, and filters on stores of chosen vectors."""

import numpy as np
import pytest
from compare.points import point
from vector_stores import vector_store

from pyserini_xqg.compare import stores
from pyserini_xqg.compare.grid import Filter, Point
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.store import EmbeddingStore

LANGUAGES = ("ar", "de")


def vectors(seed=0, passages=11, dimension=6):
    chance = np.random.default_rng(seed)
    rows = chance.standard_normal((passages, dimension)).astype(np.float32)
    queries = {
        language: [chance.standard_normal((chance.integers(0, 4), dimension)).astype(np.float32) for _ in rows]
        for language in LANGUAGES
    }
    queries["ar"][3] = chance.standard_normal((5, dimension)).astype(np.float32)
    return rows, queries


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A store, and where the scores of its queries are kept."""
    directory = tmp_path_factory.mktemp("scored")
    return vector_store(directory / "store", *vectors()), directory / "scores"


def filtered(passages, queries, lowest, most):
    """Sums and counts of the queries that score at least ``lowest[language]``, in plain loops and double precision."""
    sums = {language: np.zeros(passages.shape) for language in queries}
    counts = {language: np.zeros(len(passages), int) for language in queries}
    for language, lists in queries.items():
        for row, some in enumerate(lists):
            for query in some:
                good = np.float32(passages[row].astype(float) @ query.astype(float)) >= np.float32(lowest[language])
                if good and (most is None or counts[language][row] < most):
                    sums[language][row] += query
                    counts[language][row] += 1
    return sums, counts


def blocks_together(scored, chosen, languages, most=None, block_bytes=1 << 20):
    store, directory = scored
    keep = stores.kept_queries(store, point(chosen=chosen), directory)
    blocks = list(store.blocks(languages, most, keep=keep, block_bytes=block_bytes))
    return (
        np.concatenate([block.passages for block in blocks]),
        {language: np.concatenate([block.sums[language] for block in blocks]) for language in languages},
        {language: np.concatenate([block.counts[language] for block in blocks]) for language in languages},
    )


@pytest.mark.parametrize("block_bytes", [24, 100, 1 << 20])
@pytest.mark.parametrize("most", [None, 1, 2])
@pytest.mark.parametrize(
    "chosen",
    [
        Filter("threshold", "0.2"),
        Filter("threshold", "ar=-1,de=1"),
        Filter("threshold", "99"),
        Filter("top-fraction", "0.5"),
        Filter("top-fraction", "ar=1,de=0.1"),
    ],
    ids=str,
)
def test_filtered_blocks(scored, chosen, most, block_bytes):
    passages, queries = vectors()
    found = blocks_together(scored, chosen, list(LANGUAGES), most, block_bytes)
    every = {
        language: sorted(
            (
                np.float32(passages[row].astype(float) @ query.astype(float))
                for row, some in enumerate(lists)
                for query in some
            ),
            reverse=True,
        )
        for language, lists in queries.items()
    }
    if chosen.option == "threshold":
        values = chosen.selection().threshold
        lowest = values if isinstance(values, dict) else dict.fromkeys(LANGUAGES, values)
    elif "=" in chosen.value:
        lowest = {"ar": every["ar"][-1], "de": every["de"][int(np.ceil(0.1 * len(every["de"]))) - 1]}
    else:
        both = sorted([*every["ar"], *every["de"]], reverse=True)
        lowest = dict.fromkeys(LANGUAGES, both[int(np.ceil(0.5 * len(both))) - 1])
    sums, counts = filtered(passages, queries, lowest, most)
    np.testing.assert_array_equal(found[0], passages)
    for language in LANGUAGES:
        np.testing.assert_array_equal(found[2][language], counts[language])
        np.testing.assert_allclose(found[1][language], sums[language], atol=1e-5)


def test_one_language_of_a_filtered_store_is_filtered_by_the_share_of_all(scored):
    both, alone = (blocks_together(scored, Filter("top-fraction", "0.5"), some) for some in (["ar", "de"], ["de"]))
    np.testing.assert_array_equal(alone[1]["de"], both[1]["de"])
    np.testing.assert_array_equal(alone[2]["de"], both[2]["de"])


def test_scores_are_kept(tmp_path):
    store = vector_store(tmp_path / "store", *vectors())
    assert stores.kept_queries(store, point(), tmp_path / "scores") is None
    assert not (tmp_path / "scores").exists()
    changed = set()
    for text in ("0.1", "0.2"):
        stores.kept_queries(store, point(chosen=Filter("threshold", text)), tmp_path / "scores")
        changed.add((tmp_path / "scores" / "score.ar.npy").stat().st_mtime_ns)
    assert len(changed) == 1


def test_thresholds_of_other_languages(scored):
    for text, message in (("ar=0.1", "--threshold: none for de"), ("ar=1,de=1,fi=1", "no queries in fi")):
        with pytest.raises(XqgError, match=message):
            stores.check_point(scored[0], point(chosen=Filter("threshold", text)))


def test_what_a_store_of_sums_gives(tmp_path):
    store = vector_store(tmp_path / "store", *vectors(), keep_query_vectors=False)
    for wanted in (
        *(point(), point(max_queries=0), point(max_queries=5), point(max_queries=99, route=True)),
        *(point(alpha=0.0, max_queries=2), point(languages=("de",), max_queries=3)),
    ):
        stores.check_point(store, wanted)
        recipe = wanted.whole(store)
        next(store.blocks(recipe.languages, recipe.max_queries))
    for refused, message in (
        (point(max_queries=2), r"--max-queries 2: .* has sums of up to 5 .* Encode again with --keep-query-vectors"),
        (point(chosen=Filter("threshold", "0.3")), r"--threshold 0\.3: .* no query can be left out.*--keep-query"),
        (point(chosen=Filter("top-fraction", "0.3")), r"--top-fraction 0\.3: "),
    ):
        with pytest.raises(XqgError, match=message):
            stores.check_point(store, refused)


def test_languages_that_a_store_lacks(tmp_path):
    store = vector_store(tmp_path / "store", *vectors())
    with pytest.raises(XqgError, match=r"store: no queries in te, ko. It has ar, de"):
        Point.of("s", store, point(languages=("ar", "te", "ko")).recipe)
    bare = vector_store(tmp_path / "bare", vectors()[0], {})
    with pytest.raises(XqgError, match="the passages have no generated queries"):
        stores.check_point(bare, point())
    stores.check_point(bare, point(alpha=0.0))


def test_stores_by_name(tmp_path):
    for name in ("one", "two"):
        vector_store(tmp_path / name, *vectors(len(name)))
    found = stores.open_stores([str(tmp_path / "one"), f"2nd={tmp_path / 'two'}"])
    assert list(found) == ["one", "2nd"] and all(isinstance(store, EmbeddingStore) for store in found.values())
    with pytest.raises(XqgError, match="another store is named 'one'"):
        stores.open_stores([str(tmp_path / "one"), f"one={tmp_path / 'two'}"])
    with pytest.raises(XqgError, match="'a b' cannot name files"):
        stores.open_stores([f"a b={tmp_path / 'one'}"])
    with pytest.raises(XqgError, match="no embedding store there"):
        stores.open_stores([str(tmp_path / "three")])


def test_stores_of_other_passages(tmp_path):
    passages, queries = vectors()
    vector_store(tmp_path / "one", passages, queries)
    vector_store(tmp_path / "two", passages, queries, docids=[f"q{row}" for row in range(len(passages))])
    with pytest.raises(XqgError, match=r"two: other passages than .*one"):
        stores.open_stores([str(tmp_path / "one"), str(tmp_path / "two")])
