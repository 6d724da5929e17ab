"""What is told about data stores, and what becomes of their tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import StorePlan, plan_store, render

from .conftest import Loader, Mistakes

STORE = "[[store]]\nname = 's'\n"
PEERS = "[broker]\nconnect = ['127.0.0.1:9999']\n"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", None),
        ("backend = 'sqlite'\npath = 'x.sqlite'\nexpire_after = '1h'", None),
        ("persistent = true", None),
        ("role = 'auto'\nmaster_node = 'here'", None),
        ("backend = 'memory'\npath = 'x'", 'site.toml:4: store[0].path: is for backend = "sqlite", leave it out'),
        ("stale_interval = '1s'",
         "site.toml:3: store[0].stale_interval: is for clones and frontends, leave it out"),
        ("master_node = 'x'", 'site.toml:3: store[0].master_node: is for role = "auto", leave it out'),
        ("expire_after = '0s'", "site.toml:3: store[0].expire_after: must be more than 0"),
        ("path = ' '", 'site.toml:3: store[0].path: " " is not the path of a file'),
        ("role = 'clone'", "site.toml:3: store[0].role: a clone needs its master as a peer, set [broker] connect"),
        ("role = 'auto'",
         ("site.toml:3: store[0].role: nobody owns this store, set master_node, or default_master_node in "
          "[cluster.stores]")),
        (PEERS.replace("[broker]", "role = 'frontend'\npath = 'x'\n[broker]"),
         "site.toml:4: store[0].path: is for masters, leave it out"),
        ("[[store]]\nname = 's'",
         'site.toml:4: store[1].name: the name "s" is used twice, first by store[0].name at site.toml:2'),
        ("path = 'a'\n[[store]]\nname = 't'\npath = 'b/../a'",
         "site.toml:6: store[1].path: is the same file as that of store[0] at site.toml:3"),
    ],
)  # fmt: skip
def test_each_mistake_is_told(mistakes: Mistakes, more: str, told: str | None) -> None:
    """Once, with its place and what to do."""
    assert mistakes(STORE + more + "\n") == ([told] if told else [])


def planned(read: Loader, text: str, *, node: str = "here") -> list[StorePlan]:
    loaded = read(text)
    config = loaded.config
    return [
        plan_store(store, config.cluster.stores, node=node, state_dir="/state", max_message=7) for store in config.store
    ]


def test_a_store_that_says_nothing_is_a_master_in_memory(read: Loader) -> None:
    """As in Zeek."""
    assert planned(read, STORE) == [StorePlan(name="s", role="master", max_snapshot=7)]


@pytest.mark.parametrize(
    ("defaults", "more", "path"),
    [
        ("", "persistent = true", "/state/stores/s.sqlite"),
        ("default_store_dir = '/srv'", "persistent = true", "/srv/s.sqlite"),
        ("default_store_dir = '/srv'", "backend = 'memory'", ""),
        ("default_backend = 'sqlite'", "", "/state/stores/s.sqlite"),
        ("default_backend = 'sqlite'", "backend = 'memory'\npersistent = true", "/state/stores/s.sqlite"),
        ("default_store_dir = '/srv'", "path = '/own/x'", "/own/x"),
    ],
)
def test_the_cluster_says_where_stores_are(read: Loader, defaults: str, more: str, path: str) -> None:
    """What a store says itself comes first."""
    assert planned(read, f"[cluster.stores]\n{defaults}\n{STORE}{more}\n")[0].path == path


def test_the_owner_is_the_master_and_all_others_are_clones(read: Loader) -> None:
    """With one file for all of them."""
    text = f"{PEERS}[cluster.stores]\ndefault_master_node = 'here'\n{STORE}role = 'auto'\nexpire_after = '1h'\n"
    text += "[[store]]\nname = 't'\nrole = 'auto'\nmaster_node = 'there'\n"
    assert [plan.role for plan in planned(read, text)] == ["master", "clone"]
    assert [plan.role for plan in planned(read, text, node="there")] == ["clone", "master"]
    assert planned(read, text, node="elsewhere")[0].expire_after is None


def test_what_is_printed_can_be_read(read: Loader) -> None:
    """And means the same."""
    text = f"{STORE}backend = 'sqlite'\npath = 'deep/x'\n{PEERS}[[store]]\nname = 'My::t'\nrole = 'clone'\n"
    config = read("[appliance]\nstate_dir = '.'\n" + text).config
    assert config.store[0].path == str(Path("deep/x").absolute())
    assert read(render(config)).config == config


def test_a_store_is_a_door_and_a_kind_of_items(mistakes: Mistakes) -> None:
    """Which `from` and `on` may name."""
    hook = "[[hook]]\nname = 'h'\nrun = 'a:b'\non = ['store:s', 'store:*']\nfrom = ['store.s']\n"
    assert mistakes(STORE + hook) == []
