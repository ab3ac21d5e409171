"""Guesses of the claim code: few for each, and nobody holds up the others."""

from __future__ import annotations

from sealwright_appliance.attempt_limiter import CLAIMS, CLAIMS_OF_PEER, AttemptLimiter

CUSTOMER = "192.0.2.7"
YEAR_S = 365 * 86400
CODES = 2**60


def test_a_peer_has_a_few_attempts_and_then_one_per_interval() -> None:
    limiter = AttemptLimiter()
    assert [limiter.admit(CUSTOMER, 100.0) for _ in range(CLAIMS_OF_PEER.at_once + 1)] == [
        True
    ] * CLAIMS_OF_PEER.at_once + [False]
    assert not limiter.admit(CUSTOMER, 100.0 + CLAIMS_OF_PEER.every_s - 1)
    assert limiter.admit(CUSTOMER, 100.0 + CLAIMS_OF_PEER.every_s)
    assert not limiter.admit(CUSTOMER, 100.0 + CLAIMS_OF_PEER.every_s)


def test_what_was_no_guess_is_given_back_and_lets_no_guess_in() -> None:
    limiter = AttemptLimiter()
    for _ in range(CLAIMS.at_once * 2):
        assert limiter.admit(CUSTOMER, 100.0)
        limiter.regain(CUSTOMER)
    guesses = [limiter.admit(CUSTOMER, 100.0) for _ in range(CLAIMS_OF_PEER.at_once + 1)]
    assert guesses == [True] * CLAIMS_OF_PEER.at_once + [False]
    limiter.regain("198.51.100.1")
    assert not limiter.admit(CUSTOMER, 100.0)


def test_one_that_guesses_without_end_does_not_keep_the_customer_out() -> None:
    limiter = AttemptLimiter()
    for attempt in range(10 * CLAIMS.at_once):
        limiter.admit("198.51.100.1", attempt * CLAIMS.every_s / 10)
        limiter.admit(f"2001:db8::{attempt:x}", attempt * CLAIMS.every_s / 10)
    assert limiter.admit(CUSTOMER, CLAIMS.every_s * CLAIMS.at_once)


def test_many_together_guess_no_faster_than_all_may() -> None:
    """And what is remembered of them stays small."""
    limiter, seconds = AttemptLimiter(), 300
    admitted = sum(limiter.admit(f"10.{t}.{n}.1", float(t)) for t in range(seconds) for n in range(100))
    assert admitted <= CLAIMS.at_once + seconds / CLAIMS.every_s
    assert len(limiter) <= CLAIMS.at_once + CLAIMS_OF_PEER.at_once * CLAIMS_OF_PEER.every_s / CLAIMS.every_s
    assert YEAR_S / CLAIMS.every_s / CODES < 1e-9
