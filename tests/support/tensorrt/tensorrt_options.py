"""trtexec's documented options, as far as they matter here, with the TensorRT versions that have them.

Read from NVIDIA/TensorRT: the help text of trtexec 10.6 (banner ``v100600``), ``samples/common/sampleOptions.cpp`` of a
10.x release that has ``--remoteAutoTuningConfig`` (10.13 or later) and of 11.x (``--stronglyTyped`` "[Deprecated] ...
This flag is a no-op", ``--refPair``), and the page "Migrating trtexec Usage from TensorRT 10.x to 11.x" of 11.0 and
11.4. Held to trtexec's own option parser of 10.12, 10.13, 10.16, 11.0 and 11.1, compiled from NVIDIA's source.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSIONS = ("10.12", "10.16", "11.0", "11.1", "11.4")


@dataclass(frozen=True)
class Option:
    """One option: whether it takes a value, how often it may come, which versions have it."""

    takes_value: bool
    versions: tuple[str, ...] = VERSIONS
    repeats: bool = False


ONLY_10 = ("10.12", "10.16")
ONLY_11 = ("11.0", "11.1", "11.4")
FROM_11_1 = ("11.1", "11.4")

OPTIONS: dict[str, Option] = {
    # Model and build
    "--onnx": Option(True),
    "--minShapes": Option(True, repeats=True),
    "--optShapes": Option(True, repeats=True),
    "--maxShapes": Option(True, repeats=True),
    "--profile": Option(True, repeats=True),
    "--memPoolSize": Option(True),
    "--noTF32": Option(False),
    "--stronglyTyped": Option(False),
    "--saveEngine": Option(True),
    "--loadEngine": Option(True),
    "--getPlanVersionOnly": Option(False),
    "--timingCacheFile": Option(True),
    "--noBuilderCache": Option(False),
    "--builderOptimizationLevel": Option(True),
    "--hardwareCompatibilityLevel": Option(True),
    "--versionCompatible": Option(False),
    "--skipInference": Option(False),
    "--tempdir": Option(True),
    # Weak typing, which 11 removed
    "--fp16": Option(False, ONLY_10),
    "--bf16": Option(False, ONLY_10),
    "--int8": Option(False, ONLY_10),
    "--fp8": Option(False, ONLY_10),
    "--int4": Option(False, ONLY_10),
    "--best": Option(False, ONLY_10),
    "--calib": Option(True, ONLY_10),
    "--precisionConstraints": Option(True, ONLY_10),
    "--layerPrecisions": Option(True, ONLY_10),
    # Inference and reporting
    "--shapes": Option(True),
    "--loadInputs": Option(True, repeats=True),
    "--useProfile": Option(True),
    "--iterations": Option(True),
    "--warmUp": Option(True),
    "--duration": Option(True),
    "--noDataTransfers": Option(False),
    "--includeDataTransfers": Option(False, ONLY_11),
    "--noCudaGraph": Option(False, ONLY_11),
    "--refPair": Option(True, FROM_11_1, repeats=True),
    "--loadRefOutputs": Option(True, FROM_11_1, repeats=True),
    "--accuracyThreshold": Option(True, FROM_11_1),
    "--exportOutput": Option(True),
    "--dumpOutput": Option(False),
    "--verbose": Option(False),
    "--device": Option(True),
    "--help": Option(False),
}


def refused(arguments: list[str], version: str) -> list[str]:
    """Return what trtexec of this version (``10.12``) would not understand, in its order."""
    problems, seen = [], set()
    for argument in arguments:
        name, equals, value = argument.partition("=")
        option = OPTIONS.get(name)
        if option is None or version not in option.versions:
            problems.append(f"Unknown option: {argument}")
        elif option.takes_value != bool(equals) or (equals and not value):
            problems.append(f"{name} {'wants a value' if option.takes_value else 'takes no value'}")
        elif name in seen and not option.repeats:
            problems.append(f"{name} twice")
        seen.add(name)
    return problems + _profiles(arguments)


def _profiles(arguments: list[str]) -> list[str]:
    """``getOptimizationProfiles``: shapes are read from the three places right behind their ``--profile``."""
    spoken_for: set[int] = set()
    indices = []
    for at, argument in enumerate(arguments):
        if not argument.startswith("--profile="):
            continue
        indices.append(int(argument.partition("=")[2]))
        for follower in range(at + 1, at + 4):
            if follower < len(arguments) and arguments[follower].split("=")[0] in SHAPES:
                spoken_for.add(follower)
            else:
                break
    problems = [] if indices in ([], list(range(len(indices)))) else [f"profile indices {indices}"]
    for at, argument in enumerate(arguments):
        if argument.split("=")[0] in SHAPES and indices and at not in spoken_for:
            problems.append("Multiple --minShapes/--optShapes/--maxShapes without --profile are not allowed.")
    if any(len([f for f in spoken_for if f in range(a + 1, a + 4)]) != 3 for a in _starts(arguments)):
        problems.append("Found invalid or missing shape spec")
    return problems


def _starts(arguments: list[str]) -> list[int]:
    return [at for at, argument in enumerate(arguments) if argument.startswith("--profile=")]


SHAPES = ("--minShapes", "--optShapes", "--maxShapes")
