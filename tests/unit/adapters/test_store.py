"""What is kept of adapters: whole at any moment, and nothing of what is no longer needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_appliance.adapters import store as store_module
from sealwright_appliance.adapters.examples import BYTES_MOST
from sealwright_appliance.adapters.messages import (
    KEYS_MOST,
    REQUEST_LIMIT,
    AdapterOperation,
    AdapterRequest,
    AdapterState,
    KeptAdapter,
    TrainingFailure,
)
from sealwright_appliance.adapters.refusals import AdapterCode, AdapterError
from sealwright_appliance.adapters.store import AdapterStore, new_id
from sealwright_appliance.files import remove_durably, write_durably
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import AdapterPlan

PLANS = {"own": AdapterPlan(domain="tuning", base="medical", trainer="tuner", own=2, days=3)}


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    """An empty one."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "served/own").mkdir(parents=True)
    return AdapterStore(tmp_path)


def adapter(name: str = "ward", **change: object) -> KeptAdapter:
    fields = {"adapter_id": new_id(), "model": "medical", "member": "own", "name": name, "created": 1, "expires": 100}
    return KeptAdapter.model_validate(fields | {"examples": 10} | change)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_trained_adapter_is_all_that_stays(store: AdapterStore, tmp_path: Path) -> None:
    one = adapter()
    store.add(one, b"examples", 2)
    store.begun(one.adapter_id)
    store.checkpoint(one.adapter_id, b"half", 50)
    assert store.material(one.adapter_id) == (b"examples", b"half")
    assert store.next() == one.model_copy(update={"state": AdapterState.TRAINING, "percent": 50})
    store.ready(one.adapter_id, b"GGUF", (2.0, 1.0))
    assert store.next() is None
    assert files(tmp_path) == {f"{one.adapter_id}.json", f"{one.adapter_id}.gguf"}
    assert (tmp_path / f"served/own/{one.adapter_id}.gguf").stat().st_mode & 0o777 == 0o444
    store.delete(one.adapter_id)
    assert files(tmp_path) == set()
    with pytest.raises(AdapterError) as caught:
        store.delete(one.adapter_id)
    assert caught.value.code is AdapterCode.UNKNOWN


def test_a_checkpoint_of_an_adapter_that_was_deleted_goes(store: AdapterStore, tmp_path: Path) -> None:
    """It is written while others may delete."""
    one = adapter()
    store.add(one, b"examples", 2)
    store.delete(one.adapter_id)
    with pytest.raises(AdapterError):
        store.checkpoint(one.adapter_id, b"half", 50)
    assert files(tmp_path) == set()


def test_a_record_of_the_longest_request_can_be_read(store: AdapterStore) -> None:
    """It says more than was asked."""
    keys = ["𝒦" * 61 + f"{number:03}" for number in range(KEYS_MOST)]
    asked = AdapterRequest(operation=AdapterOperation.ADD, model="m" * 63, name="n" * 28, keys=keys, size=BYTES_MOST)
    assert len(document_bytes(asked)) <= REQUEST_LIMIT
    one = adapter(asked.name or "", model=asked.model, keys=keys)
    store.add(one, b"examples", 2)
    assert store.all() == [one]


def test_names_numbers_and_room_are_bounded(store: AdapterStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add(adapter("a"), b"x", 2)
    refused = [(adapter("a"), AdapterCode.EXISTS)]
    monkeypatch.setattr(store_module, "free_bytes", lambda _: 0)
    refused.append((adapter("b"), AdapterCode.DISK_FULL))
    for one, code in refused:
        with pytest.raises(AdapterError) as caught:
            store.add(one, b"x", 2)
        assert caught.value.code is code
    monkeypatch.undo()
    store.add(adapter("b"), b"x", 2)
    with pytest.raises(AdapterError) as caught:
        store.add(adapter("c"), b"x", 2)
    assert caught.value.code is AdapterCode.FULL
    assert len(store.all()) == 2


def test_a_trainer_that_ends_again_and_again_at_one_place_is_given_up(store: AdapterStore, tmp_path: Path) -> None:
    """And its examples go; a checkpoint between is progress."""
    one = adapter()
    store.add(one, b"x", 2)
    for _ in range(2):
        store.ended(one.adapter_id, 3)
    store.checkpoint(one.adapter_id, b"c", 10)
    for _ in range(2):
        store.ended(one.adapter_id, 3)
    assert store.next() is not None
    store.ended(one.adapter_id, 3)
    assert [(left.state, left.failure) for left in store.all()] == [(AdapterState.FAILED, TrainingFailure.ENDED)]
    assert files(tmp_path) == {f"{one.adapter_id}.json"}


WRITES = 8
"""In a life from the examples to the adapter; at each the machine may stop."""


@pytest.mark.parametrize("cut", range(WRITES))
def test_a_power_cut_at_any_write_leaves_what_goes_on(
    tmp_path: Path, store: AdapterStore, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """After it there is no adapter, one to be trained with its examples, or a ready one; and no rest of any other."""
    one, done = adapter(), 0

    def counted(change: object) -> object:
        def changed(path: Path, *rest: bytes, **options: int) -> None:
            nonlocal done
            if done == cut:
                raise OperationError("The power is cut.")
            done += 1
            change(path, *rest, **options)  # type: ignore[operator]

        return changed

    monkeypatch.setattr(store_module, "write_durably", counted(write_durably))
    monkeypatch.setattr(store_module, "remove_durably", counted(remove_durably))
    with pytest.raises((OperationError, AdapterError)):
        _life(store, one)
    monkeypatch.undo()
    again = AdapterStore(tmp_path)
    again.tidy(PLANS, 1)
    for left in again.all():
        if left.state is AdapterState.READY:
            assert files(tmp_path) == {f"{one.adapter_id}.json", f"{one.adapter_id}.gguf"}
        else:
            assert again.material(one.adapter_id)[0] == b"examples"
            assert not [name for name in files(tmp_path) if name.endswith(".gguf")]
            again.ready(one.adapter_id, b"GGUF", (2.0, 1.0))
    if not again.all():
        assert files(tmp_path) == set()
        _life(again, one)


def _life(store: AdapterStore, one: KeptAdapter) -> None:
    store.add(one, b"examples", 2)
    store.begun(one.adapter_id)
    store.checkpoint(one.adapter_id, b"half", 50)
    store.ready(one.adapter_id, b"GGUF", (2.0, 1.0))


def test_what_is_over_or_of_no_domain_goes(store: AdapterStore, tmp_path: Path) -> None:
    late, other, kept = adapter("late", expires=50), adapter("other", member="elsewhere"), adapter("kept")
    for one in (late, other, kept):
        store.add(one, b"x", 2)
    assert store.tidy({**PLANS, "elsewhere": PLANS["own"]}, None) == []
    assert set(store.tidy(PLANS, 50)) == {late.adapter_id, other.adapter_id}
    assert [one.name for one in store.all()] == ["kept"]
    assert files(tmp_path) == {f"{kept.adapter_id}.json", f"{kept.adapter_id}.examples"}


def test_a_damaged_record_is_told_and_not_passed_over(store: AdapterStore, tmp_path: Path) -> None:
    (tmp_path / f"kept/{new_id()}.json").write_bytes(b"{}")
    with pytest.raises(AdapterError) as caught:
        store.all()
    assert caught.value.code is AdapterCode.UNAVAILABLE
