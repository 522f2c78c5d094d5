# SPDX-License-Identifier: MIT
"""The units of cria::dispatch, one for each instruction set, as the build compiles them."""

import json
import os
import shlex


class Unit:
    """instruction_set; source; object: where the build puts it; command: what compiles it, without optimisation, sanitizers, input and output."""

    def __init__(self, entry):
        words = shlex.split(entry["command"])
        end = words.index("-o")
        self.source = entry["file"]
        self.instruction_set = os.path.basename(self.source)[:-len(".cpp")]
        self.object = os.path.join(entry["directory"], words[end + 1])
        self.command = [w for w in words[:end] if not w.startswith(("-O", "-fsanitize", "-fno-sanitize", "-M")) and not w.endswith((".o", ".o.d"))]


def units_of_build():
    """Reads the build's compile commands; returns no units where there are none."""
    database = os.path.join(os.environ["CRIA_BINARY_DIR"], "compile_commands.json")
    if not os.path.exists(database):
        return []
    with open(database, encoding="utf-8") as file:
        return [Unit(entry) for entry in json.load(file) if "/cria_dispatch/" in entry["file"]]
