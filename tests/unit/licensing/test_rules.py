"""The pure rules: lease bounds, stateless nonces, rate limits, versions, activation codes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_licensing.activation_codes import code_hash, new_activation_code
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.leases import DAY_S, ProvenState, bound_lease, planned_boots, tick_budget
from sealwright_licensing.limits import MOST_BUCKETS, AddressBuckets
from sealwright_licensing.nonces import LIFETIME_S, StatelessNonces
from sealwright_licensing.operations.terms import new_license
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.messages import EnrollmentRequest, Purpose

NOW = 1_800_000_000
LICENSE = new_license(product="p", seats=1, days=365, tiers=[Tier.SOFTWARE], now=NOW)
STATE = ProvenState(clock_ms=1_000, reset_count=7, ticks=100, first_ticks=100, charged_ticks=0)


def test_a_lease_of_thirty_days_bounds_clock_boots_and_ticks() -> None:
    bounds = bound_lease(LICENSE, STATE, now=NOW)
    assert bounds.expires_at == NOW + 30 * DAY_S
    assert bounds.clock_end_ms == 1_000 + 30 * DAY_S * 1000
    assert bounds.max_reset_count == 7 + 120
    assert bounds.max_ticks == 100 + 720 + 120 + 24


def test_a_short_lease_has_room_for_fifty_boots() -> None:
    assert planned_boots(DAY_S) == 50
    assert planned_boots(100 * DAY_S) == 400


def test_ticks_end_at_the_licences_budget_less_what_was_charged() -> None:
    state = dataclasses.replace(STATE, ticks=150, charged_ticks=LICENSE.tick_budget - 60)
    assert bound_lease(LICENSE, state, now=NOW).max_ticks == 160
    with pytest.raises(VerificationError) as caught:
        bound_lease(LICENSE, dataclasses.replace(state, ticks=160), now=NOW)
    assert caught.value.code is RejectionCode.BUDGET_EXHAUSTED


def test_a_licence_has_ticks_for_running_all_the_time() -> None:
    assert tick_budget(365 * DAY_S) >= 365 * 24 + 4 * 365
    assert LICENSE.tick_budget == tick_budget(365 * DAY_S)


@given(st.integers(0, 2**62), st.integers(0, 2**32 - 1), st.integers(0, 2**40), st.integers(0, 364 * DAY_S))
def test_no_lease_outlives_its_licence(clock_ms: int, resets: int, used: int, age: int) -> None:
    state = ProvenState(clock_ms, resets, 100 + used, 100, 0)
    try:
        bounds = bound_lease(LICENSE, state, now=NOW + age)
    except VerificationError:
        return
    assert bounds.expires_at <= LICENSE.expires_at
    assert bounds.clock_end_ms - clock_ms <= (LICENSE.expires_at - NOW - age) * 1000
    assert bounds.max_ticks <= 100 + LICENSE.tick_budget
    assert bounds.max_reset_count < 2**32


def test_a_nonce_is_for_one_device_purpose_and_five_minutes() -> None:
    nonces = StatelessNonces(bytes(32))
    nonce = nonces.issue("a" * 52, Purpose.RENEW, now=NOW)
    assert len(nonce) == 32
    assert nonces.verify(nonce, "a" * 52, Purpose.RENEW, now=NOW + LIFETIME_S) == NOW + LIFETIME_S
    for device, purpose, at, key in (
        ("b" * 52, Purpose.RENEW, NOW, bytes(32)),
        ("a" * 52, Purpose.ENROLL, NOW, bytes(32)),
        ("a" * 52, Purpose.RENEW, NOW + LIFETIME_S + 1, bytes(32)),
        ("a" * 52, Purpose.RENEW, NOW, bytes(31) + b"\1"),
    ):
        with pytest.raises(VerificationError) as caught:
            StatelessNonces(key).verify(nonce, device, purpose, now=at)
        assert caught.value.code is RejectionCode.NONCE_INVALID


@given(st.binary(max_size=40), st.integers(0, 31))
def test_no_other_bytes_are_a_nonce(other: bytes, position: int) -> None:
    nonces = StatelessNonces(bytes(32))
    nonce = bytearray(nonces.issue("a" * 52, Purpose.RENEW, now=NOW))
    nonce[position] ^= 1
    for bad in (other, bytes(nonce), bytes(nonce[:31])):
        with pytest.raises(VerificationError):
            nonces.verify(bad, "a" * 52, Purpose.RENEW, now=NOW)


def test_nonces_differ_within_a_second() -> None:
    nonces = StatelessNonces(bytes(32))
    assert len({nonces.issue("a" * 52, Purpose.RENEW, now=NOW) for _ in range(100)}) == 100


def test_a_bucket_empties_and_fills_again() -> None:
    buckets = AddressBuckets(tokens=3, period_s=30)
    assert [buckets.take("192.0.2.1", now=0.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take("192.0.2.2", now=0.0)
    assert not buckets.has_token("192.0.2.1", now=9.9)
    assert buckets.take("192.0.2.1", now=10.0)
    assert not buckets.take("192.0.2.1", now=10.0)


def test_addresses_are_remembered_in_bounds() -> None:
    buckets = AddressBuckets(tokens=1, period_s=1e9)
    for number in range(MOST_BUCKETS + 1):
        buckets.take(f"10.0.{number // 256}.{number % 256}", now=0.0)
    assert len(buckets._buckets) == MOST_BUCKETS


def test_an_ipv6_network_is_one_client() -> None:
    buckets = AddressBuckets(tokens=1, period_s=1e9)
    assert buckets.take("2001:db8::1", now=0.0)
    assert not buckets.has_token("2001:db8::2", now=0.0)
    assert not buckets.take("2001:db8::3", now=0.0)


def test_an_activation_code_has_a_hundred_bits_and_the_form_of_the_message() -> None:
    codes = {new_activation_code() for _ in range(200)}
    assert len(codes) == 200
    assert len({code_hash(code) for code in codes}) == 200
    for code in codes:
        EnrollmentRequest(
            activation_code=code,
            ek_certificates=[b"x"],
            ek_public=b"",
            ak_public=b"",
            srk_public=b"",
            release_id="0" * 64,
        )
