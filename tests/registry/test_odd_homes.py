"""A home may have any name: the registry is in it, and nowhere else."""

import pytest

from hops_magic.registry import open_registry
from hops_magic.settings import Settings


@pytest.mark.parametrize("name", ["a%20b", "a?b", "a#b&c=d", "a[1] ü"])
def test_the_registry_is_where_its_home_is(name, tmp_path):
    home = tmp_path / name
    settings = Settings.from_environment({"HOPS_HOME": str(home)})
    assert open_registry(settings).runs() == []
    assert settings.database_file == home / "registry.db"
    assert (home / "registry.db").exists()
    assert [place.name for place in tmp_path.iterdir()] == [name]
