"""What shows of an attempt from outside that it is a good one: without that a refusal says nothing.

Attempts from inside have theirs in :mod:`.attempts`. ``tests/unit/testing/test_redteam.py`` holds that no test of
``tests/vm/redteam`` lacks one.
"""

from __future__ import annotations

ELSEWHERE = {
    "vm/redteam/test_boot_inputs.py::test_an_addon_that_nobody_signed_is_not_read": (
        "vm/redteam/test_boot_inputs.py::test_what_is_laid_on_the_esp_opens_nothing"  # of addon-under-our-key
    ),
    "vm/redteam/test_dma.py::test_an_iommu_keeps_it_from_memory": (
        "vm/redteam/test_dma.py::test_without_an_iommu_it_writes_to_memory"
    ),
    "vm/redteam/test_inside.py::test_a_stick_is_no_disk_and_keys_are_obeyed_by_nobody": (
        "vm/redteam/test_devices.py::test_firmware_starts_from_a_stick_and_hears_a_keyboard"
    ),
    "vm/redteam/test_state_volume.py::test_another_signed_system_that_the_customer_has_not_approved_opens_nothing": (
        "integration/appliance/test_customer_approvals.py"
        "::test_an_update_opens_the_state_volume_once_the_customer_has_approved_it"
    ),
    "vm/test_happy_path.py::test_a_fresh_box_is_activated_and_answers_until_its_licence_is_revoked": (
        "vm/redteam/test_inside.py::test_credentials_from_smbios_are_done_where_they_are_taken"
    ),
}
"""By test: another one in which the same succeeds, since the defence is off or the attacker has what he lacks."""


def control(shown: object, what: str) -> None:
    """In a test itself: what was tried is good for something.

    Raises:
        AssertionError: it is not, so the test shows nothing.
    """
    assert shown, f"the attempt is none: {what}"
