"""The site on the agent's socket: for whoever has the claim code, until it is spent, or an administrator's key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.activation import Activation
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.site.settings import SiteSettings, parse_settings
from sealwright_appliance.site.site import Site
from sealwright_policies.wire.encoding import Document

ShortText = Annotated[str, Field(max_length=64)]


class SiteRequest(Document):
    """``POST /site``. One of both codes."""

    claim_code: ShortText = ""
    admin_key: ShortText = ""
    peer: ShortText


class SiteChange(SiteRequest):
    """``PUT /site``."""

    settings: dict[str, Any]


class SiteConfirmation(SiteRequest):
    """``POST /site/confirmation``."""

    reached_at: ShortText
    """By the gateway's word, which has no use for another."""


class SiteView(Document):
    """The answer to each of them."""

    settings: SiteSettings
    trial: SiteSettings | None
    trial_left_s: int | None


def add_site(app: FastAPI, activation: Activation, api_keys: ApiKeys, site: Site) -> None:
    """Add the routes."""

    def require(request: SiteRequest) -> None:
        if request.admin_key:
            api_keys.require_admin(request.admin_key)
        else:
            activation.opened(request.claim_code, request.peer)

    def view() -> SiteView:
        trial = site.trial()
        return SiteView(
            settings=site.confirmed(),
            trial=trial[0] if trial is not None else None,
            trial_left_s=trial[1] if trial is not None else None,
        )

    @app.post("/site")
    async def show(request: SiteRequest) -> SiteView:
        await run_in_threadpool(require, request)
        return await run_in_threadpool(view)

    @app.put("/site")
    async def change(request: SiteChange) -> SiteView:
        await run_in_threadpool(require, request)
        await run_in_threadpool(site.change, parse_settings(request.settings))
        return await run_in_threadpool(view)

    @app.post("/site/confirmation")
    async def confirm(request: SiteConfirmation) -> SiteView:
        await run_in_threadpool(require, request)
        await run_in_threadpool(site.confirm, request.reached_at)
        return await run_in_threadpool(view)
