"""Stock ``python -m pyserini.search.faiss`` searches xQG indexes, and refuses a query encoder that does not fit."""

import shutil

import pytest
from integration import flows

pytestmark = pytest.mark.integration

AUTO = ("--encoder-class", "auto", "--pooling", "mean", "--l2-norm")


def options(built, index, output):
    return ["--index", index, "--topics", built.topics, "--output", output, "--hits", "20"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def auto_run(active_python, built, runs):
    """The run of Pyserini's own encoder class."""
    output = runs / "auto.txt"
    result = flows.stock(active_python, *options(built, built.augmented, output), "--encoder", built.encoder, *AUTO)
    assert result.returncode == 0, result.stderr
    assert len(flows.read_run(output)) == 12
    return output


def test_with_the_encoder_of_the_index(active_python, built, runs, auto_run):
    output = runs / "prefix.txt"
    result = flows.stock(active_python, *options(built, built.augmented, output), "--encoder", f"xqg:{built.augmented}")
    assert result.returncode == 0, result.stderr
    flows.assert_runs_agree(output, auto_run)


def test_variants_agree(active_python, plain_python, built, runs, auto_run):
    """The index's path as the encoder's name, queries in batches, and an environment that was never activated."""
    index = runs / "indexes-xqg" / "en"
    shutil.copytree(built.augmented, index)
    by_path, batched, plain = runs / "path.txt", runs / "batched.txt", runs / "plain.txt"
    commands = [
        [*options(built, index, by_path), "--encoder", index],
        [*options(built, index, batched), "--encoder", f"xqg:{index}", "--batch-size", "5", "--threads", "2"],
    ]
    assert flows.stock_many(active_python, commands) == [None, None]
    assert flows.stock_many(
        plain_python, [[*options(built, built.augmented, plain), "--encoder", built.encoder, *AUTO]]
    ) == [None]
    for output in (by_path, batched, plain):
        flows.assert_runs_agree(output, auto_run)
    # The comparison can fail: without augmentation the run is another.
    other = runs / "other.txt"
    assert flows.stock_many(active_python, [[*options(built, built.plain, other), "--encoder", f"xqg:{index}"]]) == [
        None
    ]
    with pytest.raises(AssertionError):
        flows.assert_runs_agree(other, auto_run)


@pytest.fixture(scope="module")
def others(tmp_path_factory, built):
    """Models that are not the index's."""
    directory = tmp_path_factory.mktemp("others")
    flows.build_other(built.encoder, directory / "weights")
    flows.build_other(built.encoder, directory / "wide", hidden=48)
    shutil.copytree(built.encoder, directory / "moved")
    return directory


def test_misfits_are_refused_with_both_sides_named(active_python, built, runs, others):
    right = ["--pooling", "mean", "--l2-norm"]
    tried = {
        "other weights": (others / "weights", right),
        "dimensions": (others / "wide", right),
        "pooling cls": (built.encoder, ["--pooling", "cls", "--l2-norm"]),
        "l2-norm off": (built.encoder, ["--pooling", "mean"]),
        "query prefix 'where is'": (built.encoder, [*right, "--query-prefix", "where is"]),
    }
    output = runs / "never.txt"
    commands = [
        [*options(built, built.augmented, output), "--encoder", model, "--encoder-class", "auto", *settings]
        for model, settings in tried.values()
    ]
    moved = runs / "moved.txt"
    commands.append([*options(built, built.augmented, moved), "--encoder", others / "moved", *AUTO])
    *refusals, end = flows.stock_many(active_python, commands)
    for (what, (model, _)), message in zip(tried.items(), refusals, strict=True):
        assert message is not None, what
        assert message.startswith(f"XqgError: {built.augmented}: the query encoder does not fit"), what
        assert f"built with {built.encoder} (pooling mean, l2-norm on)" in message, what
        assert f"the query encoder is {model} (AutoQueryEncoder" in message, what
        assert f"Pass --encoder xqg:{built.augmented}" in message, what
    assert "48 dimensions, the index 32" in refusals[1]
    assert all(what in message for what, message in list(zip(tried, refusals, strict=True))[2:])
    assert not output.exists()
    assert end is None
    assert len(flows.read_run(moved)) == 12  # the same model in another place fits


def test_a_misfit_ends_the_command(active_python, built, runs):
    output = runs / "misfit.txt"
    result = flows.stock(
        active_python, *options(built, built.augmented, output), "--encoder", built.encoder, "--encoder-class", "auto"
    )
    assert result.returncode == 1
    assert "the query encoder does not fit" in result.stderr.splitlines()[-1]
    assert not output.exists()


def test_names_and_indexes_that_are_not_xqgs(active_python, built, runs):
    """A model whose name holds xqg is refused; an index without a manifest passes, whatever the encoder."""
    model = runs / "Xqg-model"
    model.symlink_to(built.encoder)
    bare = runs / "bare"
    shutil.copytree(built.augmented, bare)
    (bare / "xqg.json").unlink()
    output, misfit = runs / "model.txt", runs / "bare-misfit.txt"
    ends = flows.stock_many(
        active_python,
        [
            [*options(built, bare, runs / "never.txt"), "--encoder", model],
            [*options(built, bare, output), "--encoder", model, *AUTO],
            [*options(built, bare, misfit), "--encoder", built.encoder, "--encoder-class", "auto"],
            [*options(built, bare, runs / "never.txt"), "--encoder", f"xqg:{bare}"],
        ],
    )
    assert ends[0].startswith(f"XqgError: {model}: the name holds 'xqg', but there is no xqg.json")
    assert "--encoder xqg:<index directory>, or --encoder-class auto with --pooling and --l2-norm" in ends[0]
    assert ends[1:3] == [None, None]
    assert len(flows.read_run(output)) == len(flows.read_run(misfit)) == 12
    assert ends[3].startswith(f"XqgError: {bare}: no xqg.json there")
    assert not (runs / "never.txt").exists()


def test_searcher_in_python(built, others, registered):
    from pyserini.encode import AutoQueryEncoder
    from pyserini.search.faiss import FaissSearcher

    from pyserini_xqg.core.errors import XqgError
    from pyserini_xqg.vectors.encoders import XqgQueryEncoder

    index = str(built.augmented)
    right = AutoQueryEncoder(str(others / "moved"), pooling="mean", l2_norm=True)
    query = built.queries["9"]
    hits = FaissSearcher(index, right).search(query, k=5)
    ours = FaissSearcher(index, XqgQueryEncoder(index)).search(query, k=5)
    named = FaissSearcher(index, f"xqg:{index}").search(query, k=5)
    assert [(hit.docid, hit.score) for hit in named] == [(hit.docid, hit.score) for hit in ours]
    assert [hit.docid for hit in hits] == [hit.docid for hit in ours]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in ours], abs=flows.TOLERANCE)
    with pytest.raises(XqgError, match=r"does not fit.* differs by"):
        FaissSearcher(index, AutoQueryEncoder(built.encoder))
    with pytest.raises(XqgError, match=r"does not fit.* differs by"):
        FaissSearcher(index, XqgQueryEncoder(index, pooling="cls"))
    with pytest.raises(XqgError, match="does not fit"):
        FaissSearcher(index, built.encoder)  # Pyserini makes an encoder of the name, with pooling cls
    with pytest.raises(XqgError, match="a routed index"):
        FaissSearcher(str(built.routed), right)


def _truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda index: _truncate(index / "index", 1000), "index: FAISS refuses it .read error in .*index"),
        (lambda index: _truncate(index / "index", 0), "index: FAISS refuses it .read error in .*index"),
        (lambda index: (index / "index").unlink(), "no FAISS index there .index is missing"),
        (lambda index: (index / "docid").unlink(), "no FAISS index there .docid is missing"),
        (lambda index: _truncate(index / "docid", 40), "docid 1[0-9] lines, 40 of 32 were expected"),
        (lambda index: _truncate(index / "xqg.json", 200), r"xqg\.json: malformed JSON"),
        (
            lambda index: (index / "xqg.json").write_text("{}"),
            r"xqg\.json: format None version None, expected .* version 2\. Make it again",
        ),
    ],
    ids=["index cut", "index empty", "index gone", "docid gone", "docid cut", "manifest cut", "manifest empty"],
)
def test_a_damaged_index_is_named(built, tmp_path, registered, damage, message):
    from pyserini.search.faiss import FaissSearcher

    from pyserini_xqg.core.errors import XqgError
    from pyserini_xqg.vectors.encoders import XqgQueryEncoder

    encoder = XqgQueryEncoder(f"xqg:{built.augmented}")
    index = tmp_path / "index"
    shutil.copytree(built.augmented, index)
    FaissSearcher(str(index), encoder)
    damage(index)
    with pytest.raises(XqgError, match=message) as caught:
        FaissSearcher(str(index), encoder)
    assert str(index) in str(caught.value)
    assert "again" in str(caught.value)
