"""The tables of the records, SQLAlchemy Core. The migrations build the same; a test compares them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from sealwright_licensing import records
from sealwright_licensing.flow_tables import flow_tables
from sealwright_licensing.metering_tables import metering_tables
from sealwright_licensing.operators import records as operators
from sealwright_policies.wire.lease import EndBehaviour

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"},
)


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=False)


def _bytes(name: str, *, key: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, primary_key=key, nullable=False)


def _number(name: str, *, key: bool = False, nullable: bool = False) -> Column[int]:
    # SQLite's BIGINT is an INTEGER of 8 bytes; autoincrement would need the other spelling and is never wanted.
    return Column(name, BigInteger, primary_key=key, nullable=nullable, autoincrement=False)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


licenses = Table(
    "licenses",
    metadata,
    _text("license_id", key=True),
    _text("product"),
    Column("seats", Integer, nullable=False),
    _text("tiers"),
    _number("issued_at"),
    _number("expires_at"),
    _number("lease_s"),
    _number("renew_after_s"),
    _number("max_request_s"),
    _number("tick_budget"),
    _text("version_floor"),
    _flag("allow_test_images"),
    _text("status"),
    _text("note"),
    _number("starts_at"),
    _text("overage"),
    _number("grace_s"),
    _text("at_end"),
    _text("renewal_basis"),
    _number("boots_without_contact"),
    _text("partitions"),
    _text("domains"),
    _text("features"),
    Index(None, "status", "expires_at"),
)

activation_codes = Table(
    "activation_codes",
    metadata,
    _text("code_hash", key=True),
    _text("license_id"),
    _number("created_at"),
    _number("spent_at", nullable=True),
    Column("enrollment_id", Text, nullable=True),
    _text("replaces"),
    Index(None, "license_id"),
)

maker_certificates = Table(
    "maker_certificates",
    metadata,
    _text("fingerprint", key=True),
    _text("tier"),
    _text("subject"),
    _bytes("encoded"),
    _number("added_at"),
    _bytes("signature"),
)

releases = Table(
    "releases",
    metadata,
    _text("release_id", key=True),
    _text("product"),
    _text("version"),
    _text("flavour"),
    _bytes("envelope"),
    _text("manifest_key"),
    _text("approvals"),
    _text("variants"),
    _number("imported_at"),
    _flag("withdrawn"),
)

release_shares = Table(
    "release_shares",
    metadata,
    _text("release_id", key=True),
    _text("partition_id", key=True),
    _text("wrapped"),
)

pending_enrollments = Table(
    "pending_enrollments",
    metadata,
    _text("enrollment_id", key=True),
    _text("device_id"),
    _text("license_id"),
    _text("code_hash"),
    _text("release_id"),
    _text("tier"),
    _text("tpm"),
    _bytes("ek_certificate"),
    _bytes("ek_public"),
    _bytes("ak_public"),
    _bytes("srk_public"),
    _bytes("secret_hash"),
    _bytes("nonce"),
    _number("expires_at"),
    _bytes("challenge"),
    _bytes("signature"),
    Index(None, "code_hash"),
    Index(None, "expires_at"),
)

enrollment_replies = Table(
    "enrollment_replies",
    metadata,
    _text("enrollment_id", key=True),
    _text("device_id"),
    _bytes("ak_public"),
    _bytes("secret_hash"),
    _bytes("reply"),
    _number("expires_at"),
    Index(None, "expires_at"),
)

devices = Table(
    "devices",
    metadata,
    _text("device_id", key=True),
    _text("license_id"),
    _text("status"),
    _text("held_because"),
    _text("tier"),
    _text("tpm"),
    _bytes("ek_certificate"),
    _bytes("ak_public"),
    _bytes("srk_public"),
    _bytes("tick_counter_name"),
    _bytes("lease_counter_name"),
    _number("enrolled_at"),
    _text("enrollment_id"),
    _number("revision"),
    _text("pinned_pcrs"),
    _text("reported_pcrs"),
    _number("seen_at"),
    _number("clock_ms"),
    _number("reset_count"),
    _number("restart_count"),
    _number("ticks"),
    _number("lease_number"),
    _number("first_ticks"),
    _number("charged_ticks"),
    _number("granted_ticks"),
    _text("held_code"),
    _text("approved_pcrs"),
    _bytes("boot_logs_digest"),
    _bytes("signature"),
    Index(None, "license_id"),
    Index(None, "ak_public"),
    Index(None, "srk_public"),
    Index("ix_devices_enrolled_at", "enrolled_at", "device_id"),
    Index(None, "status", "tier"),
)

appraised_logs = Table(
    "appraised_logs",
    metadata,
    _text("device_id", key=True),
    _bytes("digest"),
    _bytes("boot_log"),
    _bytes("userspace_log"),
)

denied_logs = Table(
    "denied_logs",
    metadata,
    _text("device_id", key=True),
    _text("decision_id"),
    _bytes("boot_log"),
    _bytes("userspace_log"),
)

device_releases = Table(
    "device_releases",
    metadata,
    _text("device_id", key=True),
    _text("release_id", key=True),
    _text("unseal_pcrs"),
    _number("seen_at"),
    _number("lease_number"),
    _text("partitions"),
)

tick_ledgers = Table(
    "tick_ledgers",
    metadata,
    _text("license_id", key=True),
    _text("device_id", key=True),
    _number("charged_ticks"),
)

renewal_replies = Table(
    "renewal_replies",
    metadata,
    _text("device_id", key=True),
    _number("lease_number", key=True),
    _bytes("nonce", key=True),
    _bytes("reply"),
)

next_nonces = Table(
    "next_nonces",
    metadata,
    _text("device_id", key=True),
    _bytes("nonce", key=True),
    _number("lease_number"),
)

spent_nonces = Table(
    "spent_nonces",
    metadata,
    _bytes("nonce", key=True),
    _number("expires_at"),
    Index(None, "expires_at"),
)

leases = Table(
    "leases",
    metadata,
    _text("lease_id", key=True),
    _text("device_id"),
    _text("license_id"),
    _text("release_id"),
    _number("number"),
    _number("issued_at"),
    _number("expires_at"),
    _number("clock_end_ms"),
    _number("max_reset_count"),
    _number("max_ticks"),
    Index(None, "device_id", "expires_at"),
    Index("ix_leases_issued_at", "issued_at", "lease_id"),
)

device_certificates = Table(
    "device_certificates",
    metadata,
    _text("serial", key=True),
    _text("device_id"),
    _number("issued_at"),
    _number("expires_at"),
    _text("pem"),
    Index(None, "device_id"),
)

decisions = Table(
    "decisions",
    metadata,
    _text("decision_id", key=True),
    _text("device_id"),
    _text("license_id"),
    _text("purpose"),
    _text("code"),
    _text("sentence"),
    _text("result"),
    _text("words"),
    _number("decided_at"),
    Index(None, "device_id"),
    Index("ix_decisions_decided_at", "decided_at", "decision_id"),
)

device_firmware = Table(
    "device_firmware",
    metadata,
    _text("device_id", key=True),
    _text("pinned_events"),
    _text("shown_pcrs"),
    _text("shown_events"),
    _number("shown_at"),
    Index(None, "shown_at"),
)

clock_sightings = Table(
    "clock_sightings",
    metadata,
    _text("device_id", key=True),
    _number("number", key=True),
    _number("history"),
    _number("seen_at"),
    _number("clock_ms"),
    _number("reset_count"),
    _number("restart_count"),
    _number("ticks"),
    _number("lease_number"),
    _text("code"),
)

service_times = Table("service_times", metadata, _text("name", key=True), _number("at"))

operations = Table(
    "operations",
    metadata,
    _text("operation_id", key=True),
    _text("actor_kind"),
    _text("actor"),
    _text("operation"),
    _text("subject"),
    _text("detail"),
    _number("performed_at"),
    Index(None, "subject"),
    Index(None, "performed_at"),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    _text("token_id", key=True),
    _text("name"),
    _text("role"),
    _text("licenses"),
    _text("token_hash"),
    _number("created_at"),
    _number("expires_at", nullable=True),
    _number("revoked_at", nullable=True),
)

api_token_uses = Table("api_token_uses", metadata, _text("token_id", key=True), _number("used_at"))

operator_sessions = Table(
    "operator_sessions",
    metadata,
    _text("session_hash", key=True),
    _text("name"),
    _text("role"),
    _text("kind"),
    _text("token_id"),
    _text("licenses"),
    _number("created_at"),
    _number("seen_at"),
    _number("expires_at"),
    Index(None, "token_id"),
)

idempotency_records = Table(
    "idempotency_records",
    metadata,
    _text("record_id", key=True),
    _text("request_hash"),
    _text("resource"),
    _number("made_at"),
)


def _search_columns() -> tuple[Column[Any], ...]:
    return (
        _bytes("leaf"), _text("entry_kind"), _number("at"), _text("code"), _text("device_id"), _text("license_id"),
        _text("subject"),
    )  # fmt: skip


log_queue = Table(
    "log_queue",
    metadata,
    # Counted up by the database, in the order in which transactions that exclude each other write.
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    *_search_columns(),
)

log_entries = Table(
    "log_entries",
    metadata,
    _number("entry_index", key=True),
    *_search_columns(),
    Index(None, "at"),
    Index(None, "code"),
    Index(None, "device_id"),
    Index(None, "license_id"),
    Index(None, "subject"),
)

log_nodes = Table(
    "log_nodes",
    metadata,
    _number("level", key=True),
    _number("node_index", key=True),
    _bytes("hash"),
)

log_checkpoints = Table(
    "log_checkpoints",
    metadata,
    _number("size", key=True),
    _text("note"),
)

TABLES: dict[type[object], Table] = {
    records.License: licenses,
    records.ActivationCodeRecord: activation_codes,
    records.MakerCertificate: maker_certificates,
    records.ReleaseRecord: releases,
    records.ReleaseShares: release_shares,
    records.PendingEnrollment: pending_enrollments,
    records.EnrollmentReply: enrollment_replies,
    records.Device: devices,
    records.AppraisedLogs: appraised_logs,
    records.DeniedLogs: denied_logs,
    records.DeviceRelease: device_releases,
    records.TickLedger: tick_ledgers,
    records.RenewalReply: renewal_replies,
    records.NextNonce: next_nonces,
    records.SpentNonce: spent_nonces,
    records.LeaseRecord: leases,
    records.DeviceCertificateRecord: device_certificates,
    records.Decision: decisions,
    records.DeviceFirmware: device_firmware,
    records.ClockSighting: clock_sightings,
    records.ServiceTime: service_times,
    records.Operation: operations,
    operators.ApiToken: api_tokens,
    operators.ApiTokenUse: api_token_uses,
    operators.OperatorSession: operator_sessions,
    operators.IdempotencyRecord: idempotency_records,
    **metering_tables(metadata),
    **flow_tables(metadata),
    records.LogQueueItem: log_queue,
    records.LogEntryRecord: log_entries,
    records.LogNode: log_nodes,
    records.LogCheckpoint: log_checkpoints,
}
"""Table of each record; column names are the record's field names."""

CLOSED_SETS: dict[type[object], dict[str, type[StrEnum]]] = {
    records.License: {
        "status": records.LicenseStatus,
        "overage": records.Overage,
        "at_end": EndBehaviour,
        "renewal_basis": records.RenewalBasis,
    },
    records.Device: {"status": records.DeviceStatus},
}
"""Fields that are closed sets; stored as their text."""
