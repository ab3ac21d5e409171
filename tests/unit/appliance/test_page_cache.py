"""The page cache and what is read into it; with real files in tests/integration/serve."""

from __future__ import annotations

from pathlib import Path

from sealwright_appliance.page_cache import stop_read_ahead


def test_read_ahead_is_switched_off_by_device_number(tmp_path: Path) -> None:
    """A plain file has the number 0:0, which is as good as another."""
    queue = tmp_path / "0:0/queue"
    queue.mkdir(parents=True)
    (queue / "read_ahead_kb").write_text("128")
    device = tmp_path / "device"
    device.touch()
    stop_read_ahead(device, tmp_path)
    assert (queue / "read_ahead_kb").read_text() == "0"
