"""A model file that kills its engine by a signal as it is loaded: it is given up, and the other model serves on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import openai
import pytest

from sealwright_appliance.boot import BoxCode
from sealwright_appliance.engine_placement import CONTEXT_LEAST, need_mib
from sealwright_appliance.status import PayloadState
from sealwright_image.engine_memory import engine_need
from sealwright_image.gguf import read_gguf
from sealwright_testing.models.hostile_gguf import CANARY, HOSTILE, TINY
from sealwright_testing.models.random_gguf import write_random_gguf
from sealwright_testing.serving import serving_box


def asked(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}


def test_a_file_that_kills_its_engine_is_given_up_and_the_other_model_serves(tmp_path: Path) -> None:
    """Every try is refused with a reason, and no log quotes the file."""
    good, hostile = tmp_path / "good.gguf", tmp_path / "hostile.gguf"
    write_random_gguf(good, TINY)
    HOSTILE["template-too-deep"].write(hostile)
    room = need_mib(engine_need(read_gguf(good), embeddings=False), CONTEXT_LEAST)
    with serving_box({"good": good, "hostile": good}, room_mib=room) as box, box.openai() as client:
        place = box.paths.payloads / "hostile/model.gguf"
        place.unlink()
        place.symlink_to(hostile)
        patient = client.with_options(max_retries=5)  # memory changes hands: a 503 says when to ask again
        codes = set()
        while not box.board.payloads_in(PayloadState.FAILED):
            with pytest.raises(openai.InternalServerError) as refused:
                client.chat.completions.create(**asked("hostile"))
            codes.add(refused.value.code)
            assert patient.chat.completions.create(**asked("good")).choices
            time.sleep(1)
        assert codes <= {"engine_unavailable", BoxCode.ENGINE_FAILED}
        (failed,) = box.board.payloads_in(PayloadState.FAILED)
        assert (failed.payload_id, failed.code) == ("hostile", BoxCode.ENGINE_FAILED)
        assert client.chat.completions.create(**asked("good")).choices
        assert CANARY not in box.gateway_log + box.engines["hostile"].log.read_text(errors="replace")
