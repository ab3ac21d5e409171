"""The first schema: licences, devices, releases and what was decided.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create all tables."""
    _create_grants()
    _create_releases()
    _create_enrollments()
    _create_devices()
    _create_renewals()
    _create_journals()


def _create_grants() -> None:
    op.create_table(
        "licenses",
        _text("license_id"),
        _text("product"),
        sa.Column("seats", sa.Integer, nullable=False),
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
        sa.PrimaryKeyConstraint("license_id", name="pk_licenses"),
    )
    op.create_table(
        "activation_codes",
        _text("code_hash"),
        _text("license_id"),
        _number("created_at"),
        _number("spent_at", nullable=True),
        sa.Column("enrollment_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("code_hash", name="pk_activation_codes"),
    )
    op.create_index("ix_activation_codes_license_id", "activation_codes", ["license_id"])


def _create_releases() -> None:
    op.create_table(
        "maker_certificates",
        _text("fingerprint"),
        _text("tier"),
        _text("subject"),
        _bytes("encoded"),
        _number("added_at"),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_maker_certificates"),
    )
    op.create_table(
        "releases",
        _text("release_id"),
        _text("product"),
        _text("version"),
        _text("flavour"),
        _bytes("envelope"),
        _text("manifest_key"),
        _text("approvals"),
        _text("variants"),
        _number("imported_at"),
        _flag("withdrawn"),
        sa.PrimaryKeyConstraint("release_id", name="pk_releases"),
    )
    op.create_table(
        "release_shares",
        _text("release_id"),
        _text("partition_id"),
        _text("wrapped"),
        sa.PrimaryKeyConstraint("release_id", "partition_id", name="pk_release_shares"),
    )


def _create_enrollments() -> None:
    op.create_table(
        "pending_enrollments",
        _text("enrollment_id"),
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
        sa.PrimaryKeyConstraint("enrollment_id", name="pk_pending_enrollments"),
    )
    op.create_index("ix_pending_enrollments_code_hash", "pending_enrollments", ["code_hash"])
    op.create_index("ix_pending_enrollments_expires_at", "pending_enrollments", ["expires_at"])
    op.create_table(
        "enrollment_replies",
        _text("enrollment_id"),
        _text("device_id"),
        _bytes("ak_public"),
        _bytes("secret_hash"),
        _bytes("reply"),
        _number("expires_at"),
        sa.PrimaryKeyConstraint("enrollment_id", name="pk_enrollment_replies"),
    )
    op.create_index("ix_enrollment_replies_expires_at", "enrollment_replies", ["expires_at"])


def _create_devices() -> None:
    op.create_table(
        "devices",
        _text("device_id"),
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
        sa.PrimaryKeyConstraint("device_id", name="pk_devices"),
    )
    for key in ("license_id", "ak_public", "srk_public"):
        op.create_index(f"ix_devices_{key}", "devices", [key])
    op.create_table(
        "device_releases",
        _text("device_id"),
        _text("release_id"),
        _text("unseal_pcrs"),
        _number("seen_at"),
        _number("lease_number"),
        sa.PrimaryKeyConstraint("device_id", "release_id", name="pk_device_releases"),
    )
    op.create_table(
        "tick_ledgers",
        _text("license_id"),
        _text("device_id"),
        _number("charged_ticks"),
        sa.PrimaryKeyConstraint("license_id", "device_id", name="pk_tick_ledgers"),
    )


def _create_renewals() -> None:
    op.create_table(
        "renewal_replies",
        _text("device_id"),
        _number("lease_number"),
        _bytes("nonce"),
        _bytes("reply"),
        sa.PrimaryKeyConstraint("device_id", "lease_number", "nonce", name="pk_renewal_replies"),
    )
    op.create_table(
        "next_nonces",
        _text("device_id"),
        _bytes("nonce"),
        _number("lease_number"),
        sa.PrimaryKeyConstraint("device_id", "nonce", name="pk_next_nonces"),
    )
    op.create_table(
        "spent_nonces",
        _bytes("nonce"),
        _number("expires_at"),
        sa.PrimaryKeyConstraint("nonce", name="pk_spent_nonces"),
    )
    op.create_index("ix_spent_nonces_expires_at", "spent_nonces", ["expires_at"])


def _create_journals() -> None:
    op.create_table(
        "leases",
        _text("lease_id"),
        _text("device_id"),
        _text("license_id"),
        _text("release_id"),
        _number("number"),
        _number("issued_at"),
        _number("expires_at"),
        _number("clock_end_ms"),
        _number("max_reset_count"),
        _number("max_ticks"),
        sa.PrimaryKeyConstraint("lease_id", name="pk_leases"),
    )
    op.create_index("ix_leases_device_id", "leases", ["device_id"])
    op.create_table(
        "device_certificates",
        _text("serial"),
        _text("device_id"),
        _number("issued_at"),
        _number("expires_at"),
        _text("pem"),
        sa.PrimaryKeyConstraint("serial", name="pk_device_certificates"),
    )
    op.create_index("ix_device_certificates_device_id", "device_certificates", ["device_id"])
    op.create_table(
        "decisions",
        _text("decision_id"),
        _text("device_id"),
        _text("license_id"),
        _text("purpose"),
        _text("code"),
        _text("sentence"),
        _text("result"),
        _text("words"),
        _number("decided_at"),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_device_id", "decisions", ["device_id"])


def downgrade() -> None:
    """Drop them."""
    for table in (
        "decisions",
        "device_certificates",
        "leases",
        "spent_nonces",
        "next_nonces",
        "renewal_replies",
        "tick_ledgers",
        "device_releases",
        "devices",
        "enrollment_replies",
        "pending_enrollments",
        "release_shares",
        "releases",
        "maker_certificates",
        "activation_codes",
        "licenses",
    ):
        op.drop_table(table)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable, autoincrement=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)
