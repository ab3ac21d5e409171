"""Real boots: what was predicted, what was logged and what the TPM held agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealwright_policies.appraisal.appraise import judge_boot, unseal_values
from sealwright_policies.appraisal.reference_values import QUOTE_SET, UNSEAL_SET, Measurements
from sealwright_policies.tcg.eventlog import parse_event_log, parse_userspace_log
from sealwright_policies.wire.encoding import parse_json, pcr_values

BOOTS = sorted(path.parent for path in (Path(__file__).parent / "boots").glob("*/pcrs.json"))


def measurements(boot: Path) -> Measurements:
    return parse_json(Measurements, (boot / "measurements.json").read_bytes(), limit=1 << 20)


@pytest.mark.parametrize("boot", BOOTS, ids=lambda boot: boot.name)
def test_every_event_of_a_real_boot_is_as_predicted(boot: Path) -> None:
    """No rule denies an event of a boot as it should be."""
    judgement = judge_boot(
        parse_event_log((boot / "binary_bios_measurements").read_bytes()),
        parse_userspace_log((boot / "tpm2-measure.log").read_bytes()),
        measurements(boot),
    )

    assert judgement.mismatches == ()
    assert judgement.summary.boot_application == "boot-option"


@pytest.mark.parametrize("boot", BOOTS, ids=lambda boot: boot.name)
@pytest.mark.parametrize(
    ("moment", "userspace"), [("unseal", "tpm2-measure-at-unseal.log"), ("running", "tpm2-measure.log")]
)
def test_both_logs_replay_to_what_the_tpm_held(boot: Path, moment: str, userspace: str) -> None:
    """Replay gives the TPM's values, and PCR 7, 9 and 11 to 15 are the predicted ones."""
    held = json.loads((boot / "pcrs.json").read_text())[moment]
    firmware = parse_event_log((boot / "binary_bios_measurements").read_bytes()).replay()
    replayed = parse_userspace_log((boot / userspace).read_bytes()).replay(start=firmware)

    assert {str(pcr): replayed.get(pcr, bytes(32)).hex() for pcr in QUOTE_SET} == {
        str(pcr): held[str(pcr)] for pcr in QUOTE_SET
    }
    predicted = getattr(measurements(boot), moment)
    assert {pcr: held[pcr] for pcr in predicted} == predicted


@pytest.mark.parametrize("boot", BOOTS, ids=lambda boot: boot.name)
def test_the_unseal_values_are_those_of_the_moment_of_unsealing(boot: Path) -> None:
    """Computed from the log of the running box, they are what the TPM held when the box unsealed."""
    held = json.loads((boot / "pcrs.json").read_text())["unseal"]
    log = parse_event_log((boot / "binary_bios_measurements").read_bytes())

    assert pcr_values(unseal_values(log.replay(), measurements(boot))) == {
        str(pcr): held[str(pcr)] for pcr in UNSEAL_SET
    }
