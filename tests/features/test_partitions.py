"""Partition columns: a value comes back as it was, or the write is refused."""

import pytest

from hops_magic.features.errors import FeatureError, UnknownNameError


@pytest.mark.parametrize("key", ["id", ["id", "p"]])
def test_an_empty_text_is_refused_before_anything_is_written(store, key):
    with pytest.raises(FeatureError, match="partition column p is an empty text in 1 row of the data for g, which would"):
        store.save({"id": [1, 2], "p": ["", "a"]}, "g", key=key, partition_by="p")
    with pytest.raises(UnknownNameError):
        store.group("g")
    store.save({"id": [1, 2], "p": [" ", "a"]}, "g", key=key, partition_by="p")
    with pytest.raises(FeatureError, match="partition column p is an empty text in 2 rows"):
        store.save({"id": [3, 4], "p": ["", ""]}, "g")
    assert sorted(store.get("g.p").p) == [" ", "a"]


def test_a_null_comes_back_as_null(store):
    store.save({"id": [1, 2], "p": [None, "a"]}, "g", key="id", partition_by="p")
    answer = store.get("g.id", "g.p", form="arrow").to_pydict()
    assert dict(zip(answer["id"], answer["p"], strict=True)) == {1: None, 2: "a"}
