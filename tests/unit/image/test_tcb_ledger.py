"""The ledgers that have to say why what is trusted in a box grew: the project's, and one of a product's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_image.tcb_ledger import LEDGER, growth, load_limits, load_measured, parse_ledger, require_recorded
from sealwright_policies.errors import FormatError, OperationError, RejectionCode, UsageError, VerificationError

PRODUCT = Path("/srv/product/product.toml")


def own(folder: Path, most: str, reason: str = "The vendor's monitoring.") -> Path:
    path = folder / "tcb-ledger.toml"
    path.write_text(f'[[entry]]\nreason = "{reason}"\n[entry.most]\n{most}\n', "utf-8")
    return path


def test_the_last_entry_that_names_a_quantity_counts() -> None:
    ledger = """
        [[entry]]
        reason = "First."
        most = { packages = 100, executables = 30 }
        [[entry]]
        reason = "A packet filter."
        most = { packages = 104 }
    """
    assert parse_ledger(ledger) == {"packages": 104, "executables": 30}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "entry = 1",
        "entry = [1]",
        "[[entry]]",
        '[[entry]]\nreason = " "\nmost = { packages = 1 }',
        '[[entry]]\nreason = "…"\nmost = { packages = 1 }',
        "[[entry]]\nreason = 1\nmost = { packages = 1 }",
        '[[entry]]\nreason = "Why."\nmost = {}',
        '[[entry]]\nreason = "Why."\nmost = { packages = "1" }',
        '[[entry]]\nreason = "Why."\nmost = { packages = true }',
        '[[entry]]\nreason = "Why."\nmost = { packages = -1 }',
        '[[entry]]\nreason = "Why."\nmost = { packages = 1 }\nby = "me"',
        '[[entry]]\nreason = "Why."\nmost = { packages = 1 }\n[other]',
        "[",
    ],
)
def test_an_entry_without_a_reason_or_a_number_is_none(text: str) -> None:
    with pytest.raises(FormatError):
        parse_ledger(text)


def test_growth_is_what_is_above_its_limit_or_has_none() -> None:
    assert growth({"packages": 100, "setuid_files": 0}, {"packages": 100, "setuid_files": 0}) == {}
    assert growth({"packages": 101, "ports": 0}, {"packages": 100}) == {"packages": 101, "ports": 0}


def test_growth_without_an_entry_is_refused_with_what_to_write_where() -> None:
    limits = load_limits(None)
    require_recorded(limits, limits, None, PRODUCT)
    packages = limits["packages"] + 1
    with pytest.raises(VerificationError) as caught:
        require_recorded(limits | {"packages": packages}, limits, None, PRODUCT)
    assert caught.value.code is RejectionCode.TRUSTED_BASE_GREW
    told = str(caught.value).splitlines()
    assert f"  packages: {packages}, and {limits['packages']} recorded" in told
    assert any(str(PRODUCT) in line and 'ledger = "tcb-ledger.toml"' in line for line in told)
    assert any("/srv/product/tcb-ledger.toml" in line for line in told)
    assert told[told.index("[entry.most]") + 1] == f"packages = {packages}"


def test_a_product_has_a_ledger_of_its_own_behind_the_projects(tmp_path: Path) -> None:
    project = load_limits(None)
    packages = project["packages"] + 40
    ledger = own(tmp_path, f"packages = {packages}")
    limits = load_limits(ledger)
    assert limits == project | {"packages": packages}
    require_recorded(project | {"packages": packages}, limits, ledger, PRODUCT)
    with pytest.raises(VerificationError) as caught:
        require_recorded(project | {"packages": packages + 1}, limits, ledger, PRODUCT)
    assert str(ledger) in str(caught.value)
    assert "product.toml" not in str(caught.value)


def test_what_is_proposed_can_be_pasted_once_it_has_a_reason(tmp_path: Path) -> None:
    limits = load_limits(None)
    measured = limits | {"packages": limits["packages"] + 9, "services": limits["services"] + 2}
    with pytest.raises(VerificationError) as caught:
        require_recorded(measured, limits, None, PRODUCT)
    lines = str(caught.value).splitlines()
    entry = "\n".join(lines[lines.index("[[entry]]") : -1])
    ledger = tmp_path / "tcb-ledger.toml"
    ledger.write_text(entry, "utf-8")
    with pytest.raises(FormatError, match="reason"):
        load_limits(ledger)
    ledger.write_text(entry.replace("…", "Monitoring by the vendor."), "utf-8")
    require_recorded(measured, load_limits(ledger), ledger, PRODUCT)


def test_a_ledger_that_is_wrong_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no build measures executabels"):
        load_limits(own(tmp_path, "executabels = 40"))
    with pytest.raises(FormatError, match=r"tcb-ledger\.toml: \[\[entry\]\] 1"):
        load_limits(own(tmp_path, "packages = 190", reason=""))
    with pytest.raises(UsageError, match="absent"):
        load_limits(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b'[[entry]]\nreason = "\xfc"\n')
    with pytest.raises(FormatError, match="UTF-8"):
        load_limits(tmp_path / "latin.toml")


def test_every_entry_of_the_project_has_its_reason() -> None:
    assert parse_ledger(LEDGER.read_text("utf-8")) == load_limits(None)


@pytest.mark.parametrize("content", ["", "[]", '{"packages": "many"}', '{"packages": null}'])
def test_a_damaged_measure_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "trusted-base.json").write_text(content)
    with pytest.raises(OperationError, match="damaged"):
        load_measured(tmp_path / "trusted-base.json")
