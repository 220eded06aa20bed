"""Ferry's side: `ferry-lab parity`, which runs the trainer's own code."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file


class Ferry:
    """Runs requests in a temporary folder."""

    def __init__(self, lab):
        self.lab = lab
        # In memory if possible, because the weights and gradients of whole networks are written here.
        memory = Path("/dev/shm")
        place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
        self.folder = tempfile.TemporaryDirectory(prefix="ferry-parity-", dir=place)
        self.count = 0

    def path(self, name):
        return Path(self.folder.name) / name

    def start(self, run, preset, settings, inputs, **request):
        """Starts a request. The caller can compute its own side meanwhile."""
        self.count += 1
        files = [self.path(f"{self.count}-{name}") for name in ("request.json", "inputs", "outputs")]
        files[0].write_text(json.dumps({"run": run, "preset": preset, "settings": settings, **request}))
        save_file(inputs, files[1])
        process = subprocess.Popen([self.lab, "parity", *files])
        return Running(process, files)


class Running:
    def __init__(self, process, files):
        self.process, self.files = process, files

    def outputs(self):
        if self.process.wait() != 0:
            raise SystemExit(f"parity: ferry-lab ended with {self.process.returncode} (see above)")
        outputs = load_file(self.files[2])
        for file in self.files:
            file.unlink()
        return outputs
