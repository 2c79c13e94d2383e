"""Partition columns: a value comes back as it was, or the write is refused."""

import decimal

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
    with pytest.raises(
        FeatureError, match=r"column p is '__HIVE_DEFAULT_PARTITION__' in 1 row of .* would come back as null"
    ):
        store.save({"id": [3, 4], "p": ["__HIVE_DEFAULT_PARTITION__", "b"]}, "g")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([b"a", b"b"], "no folder can be named after values of type binary: convert it to texts"),
        ([[1], [2]], "no folder can be named after values of type list<item: int64>"),
        ([{"a": 1}, {"a": 2}], "no folder can be named after values of type struct<a: int64>"),
        ([decimal.Decimal("2.50"), decimal.Decimal("-0.01")], "cannot name a folder after the negative fraction -0.01"),
        ([1e300, 1.0], r"cannot be named after its value '1e\+300', which takes 304 characters"),
        ([1.0, 5e-324], "cannot be named after its value '5e-324', which takes 343 characters"),
    ],
)
def test_values_that_the_lake_would_change_are_refused_before_anything_is_written(store, values, said):
    with pytest.raises(FeatureError, match=said):
        store.save({"id": [1, 2], "p": values}, "g", key="id", partition_by="p")
    assert store.groups() == []


def test_a_null_comes_back_as_null(store):
    store.save({"id": [1, 2], "p": [None, "a"]}, "g", key="id", partition_by="p")
    answer = store.get("g.id", "g.p", form="arrow").to_pydict()
    assert dict(zip(answer["id"], answer["p"], strict=True)) == {1: None, 2: "a"}
