"""The machine that is measured: its last-level cache, its memory, and what runs on it."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

CPUS = Path("/sys/devices/system/cpu")
MEMORY = Path("/proc/meminfo")
# What a container may take, in either version of control groups.
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# More than all but the largest servers have: too large a guess costs time, too small a one makes
# what comes from the cache pass for memory.
ASSUMED_CACHE = 512 * 2**20
PACKAGES = ("torch", "numpy", "numba", "triton", "scipy", "scikit-learn", "jax")


@dataclass(frozen=True)
class Cache:
    """The last-level cache: bytes, and how one knows."""

    size: int
    source: str


def last_level_cache(device: str = "cpu") -> Cache:
    """Of a GPU its L2; of a CPU the sum of all caches of the highest level.

    A virtual machine may be told of its share and use the whole: where two sources differ the
    larger one counts, for an x that is too large costs time alone. On Apple's processors it is the
    L2 of one cluster of cores: they do not tell of the cache that all of them share.
    """
    if device == "cuda":
        return Cache(torch.cuda.get_device_properties().L2_cache_size, "as the GPU says")
    levels = ("LEVEL2_CACHE_SIZE", "LEVEL3_CACHE_SIZE", "LEVEL4_CACHE_SIZE")
    names = ("hw.l2cachesize", "hw.perflevel0.l2cachesize", "hw.l3cachesize")
    told = {
        f"as {CPUS} says": _from_sysfs(),
        "as getconf says": _largest("getconf", *levels),
        "as sysctl says": _largest("sysctl -n", *names),
    }
    source = max(told, key=lambda name: told[name])
    if not told[source]:
        return Cache(ASSUMED_CACHE, "assumed, since this machine does not say")
    return Cache(told[source], source)


def _from_sysfs() -> int:
    """0 where the kernel tells of no cache. Cores that share one each name it: it counts once."""
    levels: dict[int, dict[str, int]] = {}
    for folder in CPUS.glob("cpu[0-9]*/cache/index[0-9]*"):
        try:
            kind, level, shared, size = (
                (folder / name).read_text().strip()
                for name in ("type", "level", "shared_cpu_list", "size")
            )
            if kind != "Instruction":
                levels.setdefault(int(level), {})[shared] = _bytes(size)
        except (OSError, ValueError):  # some virtual machines have the folder and not its files
            continue
    return sum(levels[max(levels)].values()) if levels else 0


def _bytes(size: str) -> int:
    """The kernel writes 32768K."""
    for place, unit in enumerate("KMG", 1):
        if size.endswith(unit):
            return int(size[:-1]) << 10 * place
    return int(size)


def _largest(command: str, *names: str) -> int:
    """Of what a command answers for each name; 0 where it is not there or knows none of them."""
    answers = [answer(*command.split(), name) for name in names]
    return max(int(text) if text.isdecimal() else 0 for text in answers)


def answer(*command: str) -> str:
    """What a command prints; nothing where it fails or is not there."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()


def available_memory(device: str = "cpu") -> int:
    """Bytes that can be had, on a CPU without swapping and within a container's limit."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = dict(line.split(":") for line in MEMORY.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # macOS: others may well have half of it
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min(free, *(_limit(path) or free for path in LIMITS))


def _limit(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no container, or "max"
        return None


@dataclass(frozen=True)
class Machine:
    """What figures depend on, and the day they are from."""

    processor: str
    threads: int
    system: str
    versions: dict[str, str]
    date: str

    @classmethod
    def here(cls, device: str = "cpu") -> "Machine":
        """The one that this runs on."""
        versions = {"Python": platform.python_version()}
        versions |= {name: known for name in PACKAGES if (known := _version(name))}
        today = date.today().isoformat()
        return cls(_processor(device), torch.get_num_threads(), platform.system(), versions, today)

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.processor}, {self.threads} threads, {self.system}; {versions}; {self.date}"


def _processor(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = answer("sysctl", "-n", "machdep.cpu.brand_string")
    if not name and Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1] for line in lines if line.startswith("model name")), "")
    known = (name.strip(), platform.machine(), torch.backends.cpu.get_cpu_capability())
    return ", ".join(word for word in known if word)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
