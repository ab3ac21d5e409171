"""Files: certificates, images, disks, an exported log; and the short texts of a command line."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from sealwright_appliance.binding import Slot, parse_slot, slot_bytes
from sealwright_appliance.esp import parse_boot_sector, parse_directory
from sealwright_appliance.site.endpoints import SiteChange
from sealwright_appliance.site.settings import SITE_LIMIT, SiteSettings, parse_settings
from sealwright_client.pinning import parse_box_url, parse_fingerprint
from sealwright_custody.locator import parse_locator
from sealwright_image.config import parse_config
from sealwright_image.tcb_ledger import LEDGER, parse_ledger
from sealwright_licensing.audit_source import ENTRIES_FILE, ExportSource
from sealwright_licensing.certificates import parse_certificate, parse_padded_certificate
from sealwright_licensing.der import read_element
from sealwright_licensing.maker_roots import parse_pem_certificates
from sealwright_licensing.operators.api.pages import parse_cursor
from sealwright_licensing.records import LogQueueItem
from sealwright_policies.appraisal.pe import uki_sections
from sealwright_policies.domains.chain import find_problems
from sealwright_policies.domains.compiler.mounts import EVERY, INERT
from sealwright_policies.domains.ownership import parse_signed_domain, verify_signed_domain
from sealwright_policies.domains.reader import parse_domain
from sealwright_policies.engines import DocumentVectors, EngineNeed, ReleaseEngines, parse_engines
from sealwright_policies.mounts import ReleaseMounts, parse_mounts
from sealwright_policies.outflow import OutflowPolicy, ReleaseOutflow, parse_outflow
from sealwright_policies.tcg.pcr import parse_selection
from sealwright_policies.toml_location import parse_toml
from sealwright_policies.transparency.entries import parse_entry
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.workloads import (
    AdapterPlan,
    ReleaseWorkloads,
    ResultsPlan,
    RunMetrics,
    WorkloadPlan,
    parse_metrics,
    parse_workloads,
)
from sealwright_testing.domain_texts import example_texts
from sealwright_testing.fat32 import fat32_volume
from sealwright_testing.image_inputs import product_text
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.maker_ca import pem
from sealwright_testing.owners import IMAGE, records, signed
from sealwright_testing.parsers.parser import Parser, of_text
from sealwright_testing.sites import site_settings
from sealwright_testing.synthetic_uki import build_uki


def of_exports(world: LicenseWorld, folder: Path) -> Iterable[Parser]:
    """The log as it is exported."""
    export = folder / "export"
    export.mkdir()

    def entries(raw: bytes) -> object:
        (export / ENTRIES_FILE).write_bytes(raw)
        return list(ExportSource(export).entries())

    with world.store.read() as transaction:
        leaves = [one.leaf for one in transaction.find(LogQueueItem)]
    yield Parser("log entry", parse_entry, tuple(leaves))
    yield Parser("export", entries, (b"\n" + b"\n".join(leaves), *leaves))


def of_certificates(world: LicenseWorld) -> Iterable[Parser]:
    """Certificates, and the image that firmware boots."""
    root = pem(world.maker.root)
    der = parse_pem_certificates(root)[0].encoded
    yield Parser("certificate", parse_certificate, (der,))
    yield Parser("padded certificate", parse_padded_certificate, (der + bytes(64),))
    yield Parser("DER", read_element, (der,))
    yield Parser("PEM", parse_pem_certificates, (root,))
    yield Parser("UKI", uki_sections, (build_uki(),))


def of_texts() -> Iterable[Parser]:
    """What stands on a command line, in an address, in a product or domain file."""
    yield Parser("cursor", of_text(parse_cursor), (b"1800000000.lic-0123456789ab",))
    yield Parser("selection", of_text(parse_selection), (b"sha256:0,1,7-9",))
    yield Parser("box URL", of_text(parse_box_url), (b"https://box.example:8443",))
    yield Parser("fingerprint", of_text(parse_fingerprint), (b"sha256:" + b"5e" * 32, b"@file", b"@\0"))
    yield Parser("locator", of_text(parse_locator), (b"file:custodian.pem", b"pkcs11:token=x;object=y"))
    domains = tuple(text.encode() for text in example_texts().values())
    yield Parser("domain", lambda raw: find_problems([parse_domain(raw, "domain.toml")]), domains)
    word = document_bytes(signed(records(), {"tune": IMAGE}))
    yield Parser("signed domain", lambda raw: verify_signed_domain(parse_signed_domain(raw)), (word,))
    said = ReleaseOutflow(version=1, models={"medical": OutflowPolicy(top_logprobs=2)})
    yield Parser("outflow", parse_outflow, (document_bytes(said),))
    plan = WorkloadPlan(domain="training", reads=("medical", "records"), files=("training",), metrics=True)
    adapter = AdapterPlan(domain="training", base="medical", days=30)
    results = ResultsPlan(mib=64, days=30, adapters=("tuned",), results=("lora",))
    plans = ReleaseWorkloads(
        version=1, workloads={"lora": plan}, adapters={"tuned": adapter}, results={"training": results}
    )
    yield Parser("workloads", parse_workloads, (document_bytes(plans),))
    said_of_mounts = ReleaseMounts(version=1, options={"medical": (*EVERY, *INERT), "lora": EVERY})
    yield Parser("mounts", parse_mounts, (document_bytes(said_of_mounts),))
    need = EngineNeed(memory_mib=900, context=4096, token_bytes=65_536)
    vectors = DocumentVectors(model="medical", passage_prefix="passage: ", question_prefix="query: ")
    needs = ReleaseEngines(version=1, models={"medical": need}, documents=vectors)
    yield Parser("engines", parse_engines, (document_bytes(needs),))
    metrics = RunMetrics(version=1, metrics={"steps": 14.0, "loss_after": 0.25})
    yield Parser("run metrics", parse_metrics, (document_bytes(metrics),))
    site = SiteSettings.model_validate(site_settings())
    yield Parser("site", partial(parse_json, SiteSettings, limit=SITE_LIMIT), (document_bytes(site),))
    change = SiteChange(peer="10.0.0.7", settings=site_settings())
    yield Parser(
        "site settings",
        lambda raw: parse_settings(parse_json(SiteChange, raw, limit=SITE_LIMIT).settings),
        (document_bytes(change),),
    )
    yield Parser("TOML", of_text(parse_toml), domains)
    yield Parser("ledger", of_text(parse_ledger), (LEDGER.read_bytes()[:2000].rpartition(b"[[entry]]")[0],))
    config = product_text("medical").encode()
    yield Parser(
        "product.toml", lambda raw: parse_config(raw.decode("utf-8", "replace"), Path("product.toml")), (config,)
    )


def of_disks(folder: Path) -> Iterable[Parser]:
    """What is read from a disk before anything is unsealed."""
    yield Parser("binding slot", lambda raw: parse_slot(raw, 1), (slot_bytes(Slot(1, b"content")),))
    yield Parser("FAT folder", lambda raw: list(parse_directory(raw)), (bytes(range(32)) * 8,))

    def boot_sector(raw: bytes) -> object:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(raw)
            file.flush()
            return parse_boot_sector(file.fileno())

    yield Parser("FAT boot sector", boot_sector, (fat32_volume(("EFI/x.json", b"{}"))[:512],))
