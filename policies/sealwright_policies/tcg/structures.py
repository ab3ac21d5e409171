"""One place to import the TPM 2.0 structures from; they are defined by noun in the modules beside this one."""

from __future__ import annotations

from sealwright_policies.tcg.algorithms import AlgorithmId, EccCurve
from sealwright_policies.tcg.attest import (
    TPM_GENERATED_VALUE,
    Attest,
    CertifyInfo,
    ClockInfo,
    NvCertifyInfo,
    PcrSelection,
    QuoteInfo,
    StructureTag,
    TimeAttestInfo,
    parse_attest,
)
from sealwright_policies.tcg.nv import NvAttributes, NvPublic, NvType, counter_public, parse_nv_public
from sealwright_policies.tcg.public import (
    Hierarchy,
    ObjectAttributes,
    Public,
    Scheme,
    Symmetric,
    parse_public,
    parse_public_2b,
    qualified_name,
)
from sealwright_policies.tcg.signature import EcdsaSignature, PublicKey, RsaSignature, Signature, parse_signature
from sealwright_policies.tcg.srk import SrkTemplate, matches_listed_template, srk_template
from sealwright_policies.tcg.templates import KeyKind, ak_template, check_ak

__all__ = [
    "TPM_GENERATED_VALUE",
    "AlgorithmId",
    "Attest",
    "CertifyInfo",
    "ClockInfo",
    "EccCurve",
    "EcdsaSignature",
    "Hierarchy",
    "KeyKind",
    "NvAttributes",
    "NvCertifyInfo",
    "NvPublic",
    "NvType",
    "ObjectAttributes",
    "PcrSelection",
    "Public",
    "PublicKey",
    "QuoteInfo",
    "RsaSignature",
    "Scheme",
    "Signature",
    "SrkTemplate",
    "StructureTag",
    "Symmetric",
    "TimeAttestInfo",
    "ak_template",
    "check_ak",
    "counter_public",
    "matches_listed_template",
    "parse_attest",
    "parse_nv_public",
    "parse_public",
    "parse_public_2b",
    "parse_signature",
    "qualified_name",
    "srk_template",
]
