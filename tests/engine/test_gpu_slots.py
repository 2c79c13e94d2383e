"""Workers that take themselves for GPU workers: what runs may ask for there, and what their ranks see."""

from pathlib import Path

import dask
import pytest

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine.cluster import Clusters
from hops_magic.engine.submit import trials_at_once
from hops_magic.errors import OptionError
from hops_magic.runs.options import DistributedOptions
from hops_magic.training import Surroundings, collect, follow, prepare, start


@pytest.fixture(scope="module")
def gpu_cluster(home, tmp_path_factory):
    """Two workers, each of which sees its own GPU first, as Dask-CUDA arranges it."""
    from distributed import Nanny, Scheduler, SpecCluster

    shared = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "host": "127.0.0.1"}
    workers = {
        number: {"cls": Nanny, "options": {**shared, "env": {"CUDA_VISIBLE_DEVICES": seen}}}
        for number, seen in enumerate(("0,1", "1,0"))
    }
    scheduler = {"cls": Scheduler, "options": {"port": 0, "dashboard": False, "host": "127.0.0.1"}}
    with (
        dask.config.set({"temporary-directory": str(tmp_path_factory.mktemp("gpus"))}),
        SpecCluster(scheduler=scheduler, workers=workers) as cluster,
    ):
        clusters = Clusters()
        clusters.use(cluster)
        yield clusters.current(start=False)


@pytest.fixture
def launch(gpu_cluster, tmp_path):
    def launch(source, **options):
        surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=tmp_path)
        return start(gpu_cluster, prepare(source, {}, DistributedOptions(**{"framework": "none", **options}), surroundings))

    return launch


def test_more_ranks_than_gpus_are_told_what_helps_there(launch):
    with pytest.raises(OptionError, match=r"workers must be at most 2 .* each slot is a GPU; .*CPU workers") as refused:
        launch("1", workers=3)
    # which a cluster of one worker per GPU would refuse
    assert "%cluster scale" not in str(refused.value)
    with pytest.raises(OptionError, match=r"gpus_per_rank must be at most 2 \(the cluster's GPUs\), got 3"):
        launch("1", workers=1, gpus_per_rank=3)


def test_more_trials_than_gpus_are_told_what_helps_there(gpu_cluster):
    with pytest.raises(OptionError, match=r"parallel must be at most 2 .* each slot is a GPU; .*CPU workers"):
        trials_at_once(gpu_cluster.client, 1, 3)
    assert trials_at_once(gpu_cluster.client, 1, None) == 2


def test_ranks_see_their_gpus_and_none_if_they_ask_for_none(launch):
    def seen(**options):
        handle = launch("import os\nos.environ.get('CUDA_VISIBLE_DEVICES')", **options)
        trained = collect(handle, {}, follow(handle))
        return trained.value, tuple(trained.run.ranks[0].gpus)

    assert seen(workers=1, gpus_per_rank=2) in (("0,1", ("0", "1")), ("1,0", ("1", "0")))
    assert seen(workers=1, gpus_per_rank=0) == ("", ())


def test_plain_python_may_have_several_gpus_for_each_of_several_ranks(launch):
    # Keras is refused with what trains the same; here only the slots say no
    with pytest.raises(OptionError, match="workers must be at most 1 "):
        launch("1", workers=2, gpus_per_rank=2)


def test_keras_without_the_gpu_it_should_have_says_so(launch):
    handle = launch("import keras\nkeras.backend.backend()", workers=1, framework="keras")
    trained = collect(handle, {}, follow(handle))
    (warning,) = trained.run.warnings
    assert "TensorFlow finds no GPU where the ranks have one, and trains on the CPU" in warning


def test_ranks_on_gpus_take_memory_as_they_need_it_and_keep_what_xla_compiles(launch, gpu_cluster):
    source = """
import os
import tensorflow as tf
tf.function(lambda x: 2 * x, jit_compile=True)(1.0)
os.environ["TF_XLA_FLAGS"], os.environ["TF_FORCE_GPU_ALLOW_GROWTH"]
"""
    handle = launch(source, workers=1)
    flags, grows = collect(handle, {}, follow(handle)).value
    assert grows == "true"
    folders = gpu_cluster.client.run(lambda dask_worker: dask_worker.local_directory).values()
    (folder,) = [Path(folder) for folder in folders if folder in flags]
    assert flags == f"--tf_xla_persistent_cache_directory={folder}/xla"
    assert list((folder / "xla").iterdir())
