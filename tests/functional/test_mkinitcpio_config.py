"""``formats.mkinitcpio_config`` against bash, which sources these files.

What mkinitcpio then expands is written down here; Debian has no package of
it.  Source: mkinitcpio 41, arrayize_config and process_preset.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import mkinitcpio_config
from gpu_passthrough_plugin.formats.shell_assignments import Unevaluated

_HOOKS = """\
. "$1" >/dev/null 2>&1
[[ ${HOOKS@a} == *a* ]] || IFS=' ' read -r -a HOOKS <<<"$HOOKS"
printf '%s\\0' "${#HOOKS[@]}" "${HOOKS[@]}"
"""
_PRESETS = """\
. "$1" >/dev/null 2>&1
for p in "${PRESETS[@]}"; do
    image=${p}_image config=${p}_config uki=${p}_uki
    if [[ ! -v ${p}_uki && -v ${p}_efi_image ]]; then uki=${p}_efi_image; fi
    printf '%s\\0' "${!image}" "${!uki}" "${!config:-$ALL_config}"
    declare -n options=${p}_options
    if [[ ${options@a} == *a* ]]; then
        printf '%s\\0' "${#options[@]}" "${options[@]}"
    else
        read -r -a words <<<"$options"
        printf '%s\\0' "${#words[@]}" "${words[@]}"
    fi
done
"""
HOOK_LINES = st.sampled_from(
    (
        "HOOKS=(base udev auto)", 'HOOKS="base systemd"', "HOOKS+=(udev)",
        "HOOKS=(base\n  # udev\n  systemd # )\n)", "HOOKS=base", "#HOOKS=(x)",
        "MODULES=(vfio)", "MODULES=(a ${MODULES[*]})", "HOOKS=($MODULES a)",
        "HOOKS=('a b' \"c\"d)", "HOOKS=(a#b)", "HOOKS=()", 'HOOKS=""', "",
        "  HOOKS=(lvm2)", "[[ -e /none ]] && HOOKS=(no)", "unset HOOKS",
        "if true; then HOOKS=(yes); fi", "HOOKS=(base) # comment",
    )
)  # fmt: skip
PRESET_LINES = st.sampled_from(
    (
        "PRESETS=('default' 'fallback')", "PRESETS=(default)",
        'default_image="/boot/i.img"', "default_image=/j", "PRESETS=default",
        "default_uki=", "default_efi_image='/v.efi'", "fallback_image=/f",
        'ALL_config="/etc/a.conf"', "default_config=/etc/b.conf",
        'default_options="-S autodetect"', "fallback_options=(-A 'b c')",
        "default_options=()", "default_options=-n", "ALL_kver=/boot/vmlinuz",
        "#default_image=/x", "default_image=$(echo /y)", "default_uki=/u.efi",
        "default_options+=(-k)",
        "fallback_options=-S", 'default_image="$ALL_kver.img"',
    )
)  # fmt: skip
FILES = settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def told_by_bash(folder: Path, script: str, text: str) -> list[str]:
    path = folder / "sourced"
    path.write_text(text)
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(path)],
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.split("\0")[:-1]


@FILES
@given(lines=st.lists(HOOK_LINES, max_size=5))
def test_any_hooks(tmp_path: Path, lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    hooks = mkinitcpio_config.hooks([text])
    if not isinstance(hooks, Unevaluated):
        shown = told_by_bash(tmp_path, _HOOKS, text)
        assert [str(len(hooks)), *hooks] == shown


@FILES
@given(lines=st.lists(PRESET_LINES, max_size=7))
def test_any_presets(tmp_path: Path, lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    ours: list[str] = []
    for preset in mkinitcpio_config.presets_in("/p", text):
        if preset.unevaluated:
            return
        ours += (preset.image, preset.unified, preset.config)
        ours += (str(len(preset.options)), *preset.options)
    assert ours == told_by_bash(tmp_path, _PRESETS, text)
