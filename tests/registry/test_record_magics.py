"""``%experiments`` and ``%models`` in a real IPython shell, over a real store."""

import functools
import json
import time
from html.parser import HTMLParser
from types import ModuleType, SimpleNamespace

import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.core.interactiveshell import InteractiveShell
from recorded_runs import START, epochs, record
from traitlets.config import Config

from hops_magic.engine.journal import Journal
from hops_magic.errors import HopsError, NotFoundError, UsageError
from hops_magic.magics.experiments import ExperimentsMagics
from hops_magic.magics.models import ModelsMagics
from hops_magic.pruning import KEPT_S, delete_runs
from hops_magic.registry import CapturedName, open_registry
from hops_magic.runs import events as ev
from hops_magic.runs.states import RunState

NASTY = "<img src=x onerror=alert(1)> \u202e \x1b[31m javascript:alert(1) & 'quoted' \"twice\" " + "long " * 200_000

HARMLESS = {"div", "table", "thead", "tbody", "tr", "th", "td", "b", "span", "svg", "polyline", "details", "summary", "pre"}


class Tags(HTMLParser):
    """What a page consists of."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def ipython():
    config = Config()
    config.HistoryManager.enabled = False
    # a shell of its own module: tests that start processes need theirs as it was
    return InteractiveShell(config=config, user_module=ModuleType("notebook"))


@pytest.fixture
def shell(registry, ipython):
    return with_magics(ipython, registry)


@pytest.fixture(scope="module")
def recorded_two(shared_settings):
    """A registry with two runs, to be read only."""
    record_two(functools.partial(record, shared_settings))
    return open_registry(shared_settings)


@pytest.fixture
def reading(recorded_two, ipython):
    return with_magics(ipython, recorded_two)


def with_magics(ipython, registry):
    session = SimpleNamespace(
        registry=registry,
        load_model=lambda path: json.loads(path.read_text()),
        reconcile=list,  # no cluster here whose runs could be lost
    )
    ipython.user_ns.clear()
    ipython.register_magics(ExperimentsMagics(ipython, session), ModelsMagics(ipython, session))
    return ipython


def run(shell, line):
    """Run a line magic; return what it gave and how a notebook and a terminal show it."""
    name, _, rest = line.partition(" ")
    result = shell.run_line_magic(name, rest)
    formatter = DisplayFormatter()
    formatter.active_types = list(formatter.format_types)
    bundle, _ = formatter.format(result)
    return bundle.get("text/html", ""), bundle.get("text/plain", "")


@pytest.fixture
def two(recorded):
    record_two(recorded)


def record_two(recorded):
    failed = ev.RankError(rank=0, name="ValueError", message="bad batch", traceback="Cell In[4], line 3")
    recorded("aaaa00000001", epochs(0.9, 0.5, 0.4), name="first", options={"workers": 2}, seed=1, user="ada")
    recorded(
        "bbbb00000002",
        [*epochs(0.9, 0.1), failed, ev.Output(rank=0, stream="stdout", text="hello\n")],
        name="second",
        state=RunState.FAILED,
        options={"workers": 4},
        seed=1,
        user="bob",
        source="fit(x)\n",
        captured=(CapturedName(name="x", type="ndarray", size_bytes=2048, content_hash="abc", how="mapped"),),
        created_at=START + 5,
    )


def test_runs_are_listed_with_a_curve(reading):
    html, text = run(reading, "experiments")
    assert text.splitlines()[0].split() == ["Run", "State", "Best", "Started", "Took", "Ranks", "Experiment", "Id"]
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["second", "first"]
    assert "loss 0.4" in text
    assert [tag for tag, _ in Tags(html).found].count("svg") == 2


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("experiments --state failed", ["second"]),
        ("experiments --filter 'metrics.loss < 0.3'", ["second"]),
        ("experiments --sort -loss", ["first", "second"]),
        ("experiments --sort loss", ["second", "first"]),
        ("experiments -e digits -n 1", ["second"]),
        ("experiments --text ada", ["first"]),
    ],
)
def test_options_narrow_the_list(reading, line, names):
    _, text = run(reading, line)
    assert [row.split()[0] for row in text.splitlines()[1:] if not row.startswith("more with")] == names


def test_a_run_is_shown_in_full(reading):
    html, text = run(reading, "experiments show bbbb")
    for fact in (
        "second",
        "failed: because",
        "ValueError: bad batch",
        "Cell In[4], line 3",
        "hello",
        "fit(x)",
        "2.0 KiB",
        "abc",
    ):
        assert fact in text
        assert fact in Tags(html).text


def test_runs_are_compared(reading):
    html, text = run(reading, "experiments compare first second")
    assert "workers" in text
    assert "seed" not in text
    assert "+fit(x)" in Tags(html).text


def test_runs_are_deleted_and_restored(shell, two):
    assert run(shell, "experiments delete first")[1] == "this would delete first (aaaa00000001): say so with --yes"
    assert "first" in run(shell, "experiments")[1]
    assert run(shell, "experiments delete first second --yes")[1].startswith("deleted 2 runs")
    assert run(shell, "experiments")[1] == "no runs: %%distributed records one"
    assert "first" in run(shell, "experiments restore")[1]
    assert run(shell, "experiments restore")[1] == "there is nothing to restore"
    assert "digits" in run(shell, "experiments names")[1]


def test_models_are_registered_named_loaded_and_deleted(shell, two, tmp_path):
    assert run(shell, "models")[1].startswith("no models")
    (tmp_path / "m.keras").write_text("[1]")
    shell.user_ns["net"] = SimpleNamespace(save=(tmp_path / "m.keras").replace)
    assert "digits/1" in run(shell, "models register digits --run first --var net")[1]
    assert "champion" in run(shell, "models alias digits champion 1")[1]
    assert "champion → 1" in run(shell, "models")[1]
    assert "first aaaa00" in run(shell, "models versions digits")[1]
    for reference in ("digits", "digits@champion", "digits/1"):
        shell.user_ns.pop("best", None)
        assert run(shell, f"models load {reference} --as best")[1] == "best is digits version 1, made by run first"
        assert shell.user_ns["best"] == [1]
    assert "say so with --yes" in run(shell, "models delete digits/1")[1]
    assert run(shell, "models delete digits@champion --yes")[1].startswith("deleted version 1 of digits")
    assert run(shell, "models delete digits --yes")[1].startswith("deleted model digits")


@pytest.mark.parametrize(
    ("line", "error", "sentence"),
    [
        ("experiments show frist", NotFoundError, "there is no run 'frist': did you mean first"),
        ("experiments shwo first", UsageError, "has no command shwo: did you mean show"),
        ("experiments --nope", UsageError, "unrecognized arguments: --nope; %experiments -h lists the options"),
        ("experiments --limit 0", UsageError, "limit must be at least 1, got 0"),
        ("experiments --filter 'metrics.loss <'", UsageError, "the filter metrics.loss < cannot be read"),
        ("experiments show 'unfinished", UsageError, "No closing quotation"),
        ("experiments delete", UsageError, "required: runs"),
        ("models load nothing", NotFoundError, "there is no model 'nothing'"),
        ("models load a@b@c", UsageError, "NAME, NAME@ALIAS or NAME/VERSION"),
        ("models load digits --as 'a b'", UsageError, "--as must be a name of Python"),
        ("models register digits", UsageError, "required: --run"),
        ("models register digits --run first --var nope", UsageError, "there is no such name in the notebook"),
        ("models register digits --run first", NotFoundError, "left no model file"),
    ],
)
def test_mistakes_get_one_sentence(reading, line, error, sentence):
    with pytest.raises(error) as caught:
        run(reading, line)
    assert isinstance(caught.value, HopsError)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["experiments -h", "experiments compare -h", "models -h", "models load -h"])
def test_help_is_shown(shell, line, capsys):
    assert run(shell, line) == ("", "None")
    assert "usage: %" in capsys.readouterr().out


def test_nothing_that_a_user_named_can_act_or_break_the_layout(shell, recorded):
    captured = CapturedName(name=NASTY, type=NASTY, size_bytes=1, content_hash=NASTY, how=NASTY)
    error = ev.RankError(rank=0, name=NASTY[:200], message=NASTY, traceback=NASTY)
    events = [*epochs(1.0, 2.0, name=NASTY[:500]), ev.Output(rank=0, stream="stdout", text=NASTY), error]
    for number in (1, 2):
        recorded(
            f"aaaa0000000{number}",
            events,
            state=RunState.FAILED,
            name=f"{number} {NASTY}",
            experiment=NASTY,
            notebook=NASTY,
            user=NASTY,
            source=f"# {number} {NASTY}",
            params={"note": f"{number} {NASTY}"},
            captured=(captured,),
        )
    for line in (
        "experiments",
        "experiments show aaaa00000001",
        "experiments compare aaaa00000001 aaaa00000002",
        "experiments names",
    ):
        html, text = run(shell, line)
        page = Tags(html)
        assert {tag for tag, _ in page.found} <= HARMLESS
        assert not any(name.startswith("on") or name in ("href", "src") for _, attrs in page.found for name in attrs)
        assert not {"\u202e", "\x1b"} & set(html + text)
        assert max(map(len, text.splitlines())) < 25_000
        assert len(html) < 200_000
    _, listed = run(shell, "experiments")
    assert max(map(len, listed.splitlines())) < 250


def test_the_folders_of_runs_that_were_deleted_long_ago_go_with_the_next_deletion(registry, recorded):
    for name in ("old", "restored", "recent", "kept"):
        recorded(name)
        Journal(registry.settings.runs / name).close()
    registry.delete(["old", "restored"])
    registry.restore(["restored"])
    week_later = time.time() + KEPT_S + 60
    delete_runs(registry, ["recent"])
    assert (registry.settings.runs / "old").is_dir()  # it could still be restored with all that it had
    delete_runs(registry, [], now=week_later)
    assert sorted(folder.name for folder in registry.settings.runs.iterdir()) == ["kept", "restored"]
    assert registry.restore(["old"])[0].name == "old"
