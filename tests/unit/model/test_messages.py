"""Every message of the model, as an operator reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address, request, selector
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Reads,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.golden import assert_golden, sections
from tests.unit.model.test_request import ALIASES

MESSAGES = Path(__file__).with_name("messages.txt")
UNREAD = Installation(
    {"/etc/default/grub": Unknown(Why.UNREADABLE, "Permission denied")},
    {},
    {},
    {},
    (),
)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(errors.Error) as caught:
        call()
    return f"{type(caught.value).__name__}: {caught.value}"


def test_golden_messages() -> None:
    requests = ("gpu", "gpu:0", "tpu:1", "gpu:1,gpu:1", "gpu,tpu:1")
    messages = {
        "address": refusal(lambda: address.parse("6:0.0")),
        "selector": refusal(lambda: selector.parse("nvidia")),
        "path of a driver": refusal(lambda: Reads(files=("grub",))),
        "path of the kernel": refusal(
            lambda: Reads(folders=(Folder("/sys/firmware"),))
        ),
        "name of a command": refusal(lambda: Reads(tools=("bin/grubby",))),
        "unreadable file": refusal(lambda: UNREAD.text("/etc/default/grub")),
    }
    for text in requests:
        messages[f"request {text}"] = refusal(
            lambda text=text: request.parse(text, ALIASES)  # type: ignore[misc]
        )
    assert_golden(MESSAGES, sections(messages))
