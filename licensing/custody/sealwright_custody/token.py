"""A PKCS#11 token (OASIS PKCS #11 2.40) that is logged in to, for all threads of a process.

A PIN is offered once. If the token refuses it, nothing here offers it again, in this process or the next: tokens count
wrong PINs and lock. A session that is lost, with a token that was taken out or a module that started anew, is opened
again. What this does not do: find keys or use them (token_key.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from pkcs11 import exceptions as p11

from sealwright_custody.locator import TokenLocator
from sealwright_custody.secret_file import read_secret_at
from sealwright_policies.errors import OperationError

R = TypeVar("R")
_LOST = (
    p11.SessionHandleInvalid,
    p11.SessionClosed,
    p11.ObjectHandleInvalid,
    p11.KeyHandleInvalid,
    p11.UserNotLoggedIn,
    p11.DeviceError,
    p11.DeviceRemoved,
    p11.TokenNotPresent,
    p11.GeneralError,
    p11.FunctionFailed,
)
_REFUSED_PIN = (p11.PinIncorrect, p11.PinInvalid, p11.PinLenRange, p11.PinLocked, p11.PinExpired)


class _Module:
    """A loaded PKCS#11 module. It is one to a process whatever we do, and so are its lock and its logins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        try:
            self.library: Any = pkcs11.lib(str(path))
        except p11.PKCS11Error as error:
            raise OperationError(
                f"The PKCS#11 module {path} cannot be loaded: {error}.",
                cure="Install the token's library, and check module-path.",
            ) from error


@cache
def _module(path: Path) -> _Module:
    return _Module(path)


class Token:
    """One token; opened at the first use."""

    def __init__(self, locator: TokenLocator, base: Path, *, try_pin: bool = False) -> None:
        """Name a token.

        Args:
            locator: module, label and where the PIN is.
            base: folder of a relative PIN file.
            try_pin: log in although the token says that the last PIN it was given was wrong.
        """
        self.locator = locator
        self._base = base
        self._try_pin = try_pin
        self._module = _module(locator.module)
        self._session: Any = None
        self._refusal: OperationError | None = None

    def use(self, operation: Callable[[Any], R]) -> R:
        """Run an operation on the session, and once more on a new session if the token was lost meanwhile.

        Raises:
            OperationError: the token, or its key, cannot be used.
        """
        with self._module.lock:
            if self._session is None:
                self._session = self._reopen()
            try:
                return operation(self._session)
            except p11.PKCS11Error as error:
                if not isinstance(error, _LOST) and type(error) is not p11.PKCS11Error:
                    raise self._failed(error) from error
            self._session = None
            self._session = self._reopen()
            try:
                return operation(self._session)
            except p11.PKCS11Error as error:
                self._session = None
                raise self._failed(error) from error

    def mechanisms(self) -> frozenset[Any]:
        """What the token says it does."""
        return self.use(lambda session: frozenset(session.token.slot.get_mechanisms()))

    def close(self) -> None:
        """Give up the session; the next use opens one."""
        with self._module.lock:
            session, self._session = self._session, None
            if session is not None:
                try:
                    session.close()
                except p11.PKCS11Error:
                    return  # it was lost already

    def _failed(self, error: p11.PKCS11Error) -> OperationError:
        return OperationError(
            f"The token {self.locator.token!r} failed: {type(error).__name__} {error}".rstrip() + ".",
            cure="Check that it is there and works, e.g. with `pkcs11-tool --module … -O`.",
        )

    def _reopen(self) -> Any:
        try:
            return self._open()
        except OperationError:
            if self._refusal is not None:
                raise
        try:
            self._module.library.reinitialize()
        except p11.PKCS11Error as error:
            raise self._failed(error) from error
        return self._open()

    def _open(self) -> Any:
        if self._refusal is not None:
            raise self._refusal
        token = self._find()
        if pkcs11.TokenFlag.USER_PIN_LOCKED in token.flags:
            raise self._refuse("is locked after too many wrong PINs", "Unlock it with its SO PIN.")
        if pkcs11.TokenFlag.USER_PIN_COUNT_LOW in token.flags and not self._try_pin:
            raise self._refuse(
                "was given a wrong PIN the last time, so none is tried",
                f"Put the right one into {self.locator.pin}, then give --try-pin once, e.g. `keys list DIR --try-pin`.",
            )
        pin = read_secret_at(self.locator.pin, self._base).decode("utf-8", "replace").rstrip("\r\n")
        try:
            return _logged_in(token, pin)
        except _REFUSED_PIN as error:
            raise self._refuse(
                f"does not take the PIN of {self.locator.pin} ({type(error).__name__})",
                "It is not tried again: tokens lock after a few wrong ones. Correct it, then give --try-pin once.",
            ) from None
        except p11.PKCS11Error as error:
            raise self._failed(error) from error

    def _refuse(self, sentence: str, cure: str) -> OperationError:
        self._refusal = OperationError(f"The token {self.locator.token!r} {sentence}.", cure=cure)
        return self._refusal

    def _find(self) -> Any:
        library = self._module.library
        try:
            if not library.initialized:
                library.initialize()
            return library.get_token(token_label=self.locator.token)
        except (p11.NoSuchToken, p11.MultipleTokensReturned) as error:
            how_many = "no token" if isinstance(error, p11.NoSuchToken) else "several tokens"
            raise OperationError(
                f"{self._module.path} shows {how_many} with the label {self.locator.token!r}.",
                cure="Check the token's label and that it is connected.",
            ) from error
        except p11.PKCS11Error as error:
            raise self._failed(error) from error


def _logged_in(token: Any, pin: str) -> Any:
    try:
        return token.open(rw=True, user_pin=pin)
    except p11.UserAlreadyLoggedIn:  # by another of our sessions: a login is the process's
        return token.open(rw=True)
