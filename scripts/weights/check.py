"""Runs inspect, convert and a training on weights files; see scripts/check-weights."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch  # noqa: E402
from files import SOUND, WRONG, mark  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

# One epoch with a learning rate so small that only zeros change. So the stored weights equal the loaded ones.
SWEEP = """name: loaded
dataset: {synthetic: {train: 16, validation: 8, test: 8, image_size: 32}}
defaults: {emotion_backbone: resnet18, width: 64, heads: 1, image_size: 32, epochs: 1, batch_size: 8,
           learning_rate: 1.0e-30, mobilevitv2_width: 0.5}
groups:
"""


class Programs:
    """The two programs under test, in a separate folder."""

    def __init__(self, programs, folder):
        self.programs, self.folder = Path(programs).resolve(), folder

    def call(self, program, *words):
        """Exit status, standard output, last line of standard error."""
        done = subprocess.run([self.programs / program, *map(str, words)], cwd=self.folder, capture_output=True, text=True)
        said = done.stderr.strip().splitlines() or [""]
        return done.returncode, done.stdout, said[-1]

    def converted(self, sound):
        """Inspects and converts one valid file. Returns its facts and the original tensors."""
        path = self.folder / sound.name
        expected = sound.write(path)
        code, told, said = self.call("ferry-worker", "weights", "inspect", path, *sound.options, "--json")
        assert code == 0, said
        facts = json.loads(told)
        assert "problem" not in facts, facts["problem"]
        assert sound.format in facts["format"] and facts["layout"] == sound.layout, (facts["format"], facts["layout"])
        output = path.with_suffix(path.suffix + ".ferry.safetensors")
        code, _, said = self.call("ferry-worker", "weights", "convert", path, *sound.options, "-o", output)
        assert code == 0, said
        same(load_file(output), expected)
        return facts, expected, output

    def trained(self, groups):
        """Runs a sweep. Returns the stored model of each group by name."""
        # A run folder keeps only the models of ensemble members.
        members = "".join(f"      - where: {{group: g{index}}}\n" for index in range(len(groups)))
        ensemble = f"ensembles:\n  all:\n    members:\n{members}"
        (self.folder / "loaded.yaml").write_text(SWEEP + "".join(groups) + ensemble)
        code, _, said = self.call("ferry", "run", "loaded.yaml", "--workers", "1")
        assert code == 0, said
        run = self.folder / "runs" / "loaded"
        jobs = json.loads((run / "results.json").read_text())["jobs"]
        return {job["group"]: load_file(run / "models" / f"{job['id']}.safetensors") for job in jobs}


def same(found, expected, within=0.0):
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    different = [name for name, value in expected.items() if not torch.allclose(found[name], value, rtol=0, atol=within)]
    assert not different, different


def group(index, backbone, file):
    return f"  g{index}: {{matrix: {{appearance_weights: ['{file}']}}, settings: {{backbone: {backbone}}}}}\n"


def sound_files(programs):
    """Checks every valid file, and prints a row for each."""
    print("file                    format                  layout       inspect  convert  load   tensors")
    done = [(sound, *programs.converted(sound)) for sound in SOUND]
    groups = [group(index, sound.backbone, output.name) for index, (sound, _, _, output) in enumerate(done)]
    models = programs.trained(groups)
    for index, (sound, facts, expected, _) in enumerate(done):
        start = "appearance.features."
        loaded = {name.removeprefix(start): value for name, value in models[f"g{index}"].items() if name.startswith(start)}
        moving = ("running_mean", "running_var")  # by the one epoch of training
        still = {name: value for name, value in expected.items() if not name.endswith(moving)}
        same({name: loaded[name] for name in still}, still, within=1e-29)
        assert loaded.keys() == expected.keys(), loaded.keys() ^ expected.keys()
        print(f"{sound.name:23} {facts['format']:23} {facts['layout']:12} ok       ok       ok     {len(expected):4}")
    return done


def refused(name, code, said, words):
    assert code == 2 and "panicked" not in said and words in said, (name, code, said)
    print(f"{name:23} {said.removeprefix('error: ')}")


def wrong_files(programs):
    """Checks that every wrong file is refused, and prints the messages."""
    print("\nfile                    refused with")
    for wrong in WRONG:
        path = programs.folder / wrong.name
        wrong.write(path)
        output = path.with_suffix(".out")
        code, _, said = programs.call("ferry-worker", "weights", "convert", path, *wrong.options, "-o", output)
        refused(wrong.name, code, said.replace(f"{path}: ", ""), wrong.words)
        assert not output.exists(), f"{wrong.name}: something was written"
        assert not mark(path).exists(), f"{wrong.name}: it was executed"


def wrong_sweeps(programs, done):
    """Checks that a sweep refuses a file that was not converted, another topology, and a damaged file."""
    print("\nin a sweep              refused with")
    files = {sound.name: output for sound, _, _, output in done}
    damaged = programs.folder / "damaged.safetensors"
    data = bytearray(files["weights.safetensors"].read_bytes())
    data[-5] ^= 1
    damaged.write_bytes(data)
    for name, backbone, words in [
        ("weights.safetensors", "resnet18", "convert it first"),
        (files["dino.pth"].name, "vggface2_resnet50", "topology"),
        (damaged.name, "resnet18", "the bytes are damaged"),
    ]:
        (programs.folder / "wrong.yaml").write_text(SWEEP + group(0, backbone, name))
        done = subprocess.run([programs.programs / "ferry", "plan", "wrong.yaml", "--json"], cwd=programs.folder,
                              capture_output=True, text=True)
        said = json.loads(done.stderr)["error"] if done.returncode else "it was planned"
        refused(name.removesuffix(".ferry.safetensors"), done.returncode, said, words)


def main():
    with tempfile.TemporaryDirectory() as folder:
        programs = Programs(sys.argv[1], Path(folder))
        done = sound_files(programs)
        wrong_files(programs)
        wrong_sweeps(programs, done)
    print(f"\n{len(SOUND)} valid files were loaded, {len(WRONG) + 3} wrong ones were refused")


if __name__ == "__main__":
    main()
