"""The folder in which the workers of a node keep the data of runs."""

from hops_magic.engine.buffers import BufferStore, node_identity


async def fetch(source, run_id, digest, offset, length):
    raise AssertionError("nothing is fetched")


def test_a_nodes_folder_goes_with_its_last_worker_and_never_changes_before(tmp_path):
    root = tmp_path / "node"
    first, second = BufferStore(root, fetch), BufferStore(root, fetch)
    identity = node_identity(root)
    first.close()
    assert node_identity(root) == identity
    third = BufferStore(root, fetch)
    second.close()
    assert node_identity(root) == identity
    third.close()
    assert not root.exists()


def test_data_of_a_run_outlives_the_workers_that_hold_none(tmp_path):
    store = BufferStore(tmp_path / "node", fetch)
    store.store_part("run", "digest", 0, b"data")
    store.close()
    assert store.part("run", "digest", 0, 4) == b"data"
