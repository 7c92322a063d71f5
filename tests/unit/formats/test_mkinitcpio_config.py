"""mkinitcpio's files; tests/functional asks bash what these say."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import mkinitcpio_config
from gpu_passthrough_plugin.formats.mkinitcpio_config import Preset
from gpu_passthrough_plugin.formats.shell_assignments import Unevaluated
from gpu_passthrough_plugin.model.installation import Installation


@pytest.mark.parametrize(
    ("texts", "hooks"),
    [
        ((), ()),
        (("HOOKS=(base udev)\n",), ("base", "udev")),
        (('HOOKS="base  udev"\n',), ("base", "udev")),
        (("HOOKS=(base)\n", "HOOKS+=(udev)\n"), ("base", "udev")),
        (("HOOKS=(base udev)\n", "HOOKS=systemd\n"), ("systemd", "udev")),
        (("HOOKS=(base # )\n udev)\n",), ("base", "udev")),
        (("HOOKS=($X)\n",), Unevaluated("HOOKS=($X)", is_array=True)),
    ],
)
def test_the_hooks(
    texts: tuple[str, ...], hooks: tuple[str, ...] | Unevaluated
) -> None:
    assert mkinitcpio_config.hooks(texts) == hooks


@pytest.mark.parametrize(
    ("text", "preset"),
    [
        ("PRESETS=(a)\na_image=/i\n", Preset("/p", image="/i")),
        (
            "PRESETS=(a)\na_uki=/u\na_efi_image=/v\nALL_config=/c\n",
            Preset("/p", unified="/u", config="/c"),
        ),
        (
            "PRESETS=(a)\na_efi_image=/v\nALL_config=/c\na_config=/d\n",
            Preset("/p", unified="/v", config="/d"),
        ),
        (
            'PRESETS="a"\na_options="-S  autodetect"\na_image=(/i /j)\n',
            Preset("/p", image="/i", options=("-S", "autodetect")),
        ),
        (
            "PRESETS=(a)\na_options=(-A 'b c')\n",
            Preset("/p", options=("-A", "b c")),
        ),
        (
            "PRESETS=(a)\na_options=$(x)\na_uki=`y`\n",
            Preset("/p", unevaluated="a_uki=`y`"),
        ),
        (
            "PRESETS=($X)\na_image=/i\n",
            Preset("/p", unevaluated="PRESETS=($X)"),
        ),
    ],
)
def test_a_preset(text: str, preset: Preset) -> None:
    assert list(mkinitcpio_config.presets_in("/p", text)) == [preset]


def test_the_files_of_a_host() -> None:
    linux = f"{mkinitcpio_config.PRESETS}/linux.preset"
    files = {
        linux: b"PRESETS=(default fallback)\ndefault_image=/i\n",
        f"{mkinitcpio_config.DROP_INS}/a.conf": b"",
    }
    folders = {
        mkinitcpio_config.PRESETS: ("linux.preset", "x"),
        mkinitcpio_config.DROP_INS: ("a.conf",),
    }
    host = Installation(files, {}, folders, {}, ())
    assert mkinitcpio_config.preset_files(host) == (linux,)
    assert mkinitcpio_config.drop_ins(host) == (
        f"{mkinitcpio_config.DROP_INS}/a.conf",
    )
    assert mkinitcpio_config.presets(host) == (
        Preset(linux, image="/i"),
        Preset(linux),
    )
