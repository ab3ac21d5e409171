"""What a browser's request must show: the session's cookie, and for a change that it comes from our own page.

The console uses :func:`page_session` for pages and :func:`form_session` for whatever changes something.
"""

from __future__ import annotations

from fastapi import Request, Response

from sealwright_licensing.operators.errors import CROSS_SITE, OperatorError, unauthenticated
from sealwright_licensing.operators.sessions import Session, SessionLimits, find_session, require_csrf_token
from sealwright_licensing.store import Store

COOKIE = "__Host-sealwright-session"
"""With this prefix browsers take it only as Secure, for the whole host and for no other."""
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"


def set_session_cookie(response: Response, secret: str) -> None:
    """Hand the browser its session; it forgets it when it is closed."""
    response.set_cookie(COOKIE, secret, secure=True, httponly=True, samesite="strict", path="/")


def clear_session_cookie(response: Response) -> None:
    """Have the browser forget its session."""
    response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict", path="/")


def page_session(request: Request, store: Store, limits: SessionLimits, *, now: int) -> Session:
    """The session of a request that changes nothing.

    Raises:
        OperatorError: UNAUTHENTICATED.
    """
    secret = request.cookies.get(COOKIE)
    if secret is None:
        raise unauthenticated("There is no session; log in.")
    return find_session(store, secret, limits=limits, now=now)


def form_session(request: Request, given: str, store: Store, limits: SessionLimits, *, now: int) -> Session:
    """The session of a request that changes something: from our own pages, with the session's own token.

    Args:
        given: the form's field, or the header of the same meaning.

    Raises:
        OperatorError: UNAUTHENTICATED, CROSS_SITE.
    """
    require_same_origin(request)
    session = page_session(request, store, limits, now=now)
    require_csrf_token(session, given)
    return session


def require_same_origin(request: Request) -> None:
    """Refuse a change that a page of another site asks for. What says neither where it comes from is refused too.

    Raises:
        OperatorError: CROSS_SITE.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = f"https://{request.headers.get('Host', '')}"
    said = [site == "same-origin"] if site is not None else []
    said += [origin == own] if origin is not None else []
    if not said or not all(said):
        raise OperatorError(403, CROSS_SITE, "The request does not come from a page of this service.")
