"""register() and the activated environment enter xQG into Pyserini and ir_datasets."""

import json

import pytest
from integration import flows

pytestmark = pytest.mark.integration

_REGISTER = """
import json
import ir_datasets
import pyserini.encode as encode

def keys():
    return [list(encode.document_encoder_class_map), list(encode.query_encoder_class_map)]

before, known = keys(), "xor-tydi/dev" in set(ir_datasets.registry)
import pyserini_xqg
pyserini_xqg.register()
once = keys()
from pyserini.search.faiss import FaissSearcher
guarded = FaissSearcher.load_index
pyserini_xqg.register()
from pyserini_xqg.vectors.encoders import XqgDocumentEncoder, XqgQueryEncoder
print(json.dumps({
    "before": before, "known": known, "once": once, "twice": keys(),
    "ours": encode.document_encoder_class_map["xqg"] is XqgDocumentEncoder
            and encode.query_encoder_class_map["xqg"] is XqgQueryEncoder,
    "guarded once": FaissSearcher.load_index is guarded,
    "datasets": sorted(set(ir_datasets.registry) & {"xor-tydi/dev", "xquad/de", "xqg-sample/all"}),
    "topics": sum(1 for _ in ir_datasets.load("xqg-sample/fi").queries_iter()),
}))
"""

_ACTIVE = """
import json, sys
first = sys.argv[1]
if first == "ours":
    import pyserini_xqg.vectors.encoders
from pyserini.search.faiss import FaissSearcher
import pyserini.encode as encode
from pyserini_xqg.vectors.encoders import XqgDocumentEncoder, XqgQueryEncoder
print(json.dumps([
    encode.document_encoder_class_map.get("xqg") is XqgDocumentEncoder,
    encode.query_encoder_class_map.get("xqg") is XqgQueryEncoder,
    getattr(FaissSearcher.load_index, "_xqg_guard", False),
]))
"""


def test_register_enters_both_classes_and_the_datasets_once(plain_python):
    result = flows.run(plain_python, "-c", flows.JAVA_ALONE + _REGISTER)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert not found["known"]
    assert all("xqg" not in keys for keys in found["before"])
    assert found["once"] == [["xqg", *keys] for keys in found["before"]]
    assert found["twice"] == found["once"]
    assert found["ours"] and found["guarded once"]
    assert found["datasets"] == ["xor-tydi/dev", "xqg-sample/all", "xquad/de"]
    assert found["topics"] > 0


@pytest.mark.parametrize("first", ["ours", "pyserini"])
def test_an_activated_environment_needs_no_register(active_python, first):
    result = flows.run(active_python, "-c", _ACTIVE, first)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == [True, True, True]


def test_the_examples_that_need_java(plain_python):
    """Those of the modules that pyproject.toml keeps from pytest's own collection of examples."""
    code = """
import doctest, importlib
names = ("pyserini_xqg", "pyserini_xqg.vectors.encoders")
print([doctest.testmod(importlib.import_module(name)) for name in names])
"""
    result = flows.run(plain_python, "-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].count("failed=0") == 2, result.stdout
    assert "attempted=0" not in result.stdout
