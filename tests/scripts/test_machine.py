"""What is read of caches and memory, on planted machines."""

from types import SimpleNamespace

import pytest
from benchmarks import machine
from benchmarks.machine import ASSUMED_CACHE, available_memory, last_level_cache

MIB = 2**20


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine that tells of nothing; what it does tell is planted."""
    monkeypatch.setattr(machine, "CPUS", tmp_path / "cpu")
    monkeypatch.setattr(machine, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "LIMITS", (tmp_path / "memory.max",))
    monkeypatch.setattr(machine, "answer", lambda *command: "")
    return tmp_path


def plant(folder, cpu, index, level, kind, size, shared):
    at = folder / f"cpu/cpu{cpu}/cache/index{index}"
    at.mkdir(parents=True)
    for name, text in {
        "level": level,
        "type": kind,
        "size": size,
        "shared_cpu_list": shared,
    }.items():
        (at / name).write_text(f"{text}\n")


def test_a_shared_cache_counts_once(bare):
    for cpu in range(4):
        plant(bare, cpu, 0, 1, "Data", "48K", cpu)
        plant(bare, cpu, 1, 1, "Instruction", "32K", cpu)
        plant(bare, cpu, 2, 2, "Unified", "2048K", cpu)
        plant(bare, cpu, 3, 3, "Unified", "491520K", "0-3")
    assert last_level_cache().size == 480 * MIB
    assert "cpu" in last_level_cache().source


def test_caches_of_two_sockets_add_up(bare):
    for cpu in range(4):
        plant(bare, cpu, 3, 3, "Unified", "240M", f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}")
    assert last_level_cache().size == 480 * MIB


def test_a_file_that_cannot_be_read_is_passed_over(bare):
    plant(bare, 0, 2, 2, "Unified", "1024K", "0")
    plant(bare, 0, 3, 3, "Unified", "", "0")  # as some virtual machines have it
    (bare / "cpu/cpu1/cache/index0").mkdir(parents=True)
    assert last_level_cache().size == MIB


def test_of_two_sources_the_larger_counts(bare, monkeypatch):
    """A virtual machine's files may tell of its share, where getconf asks the processor."""
    plant(bare, 0, 3, 3, "Unified", "32768K", "0-1")
    monkeypatch.setattr(
        machine, "answer", lambda *words: str(384 * MIB) if "LEVEL3" in words[-1] else ""
    )
    assert last_level_cache() == machine.Cache(384 * MIB, "as getconf says")


@pytest.mark.parametrize(
    ("command", "answers", "size"),
    [
        ("getconf", {"LEVEL2_CACHE_SIZE": "2097152", "LEVEL3_CACHE_SIZE": "33554432"}, 32 * MIB),
        ("getconf", {"LEVEL3_CACHE_SIZE": "undefined", "LEVEL4_CACHE_SIZE": "0"}, ASSUMED_CACHE),
        (
            "sysctl",
            {"hw.l2cachesize": "4194304", "hw.perflevel0.l2cachesize": "16777216"},
            16 * MIB,
        ),
        ("sysctl", {"hw.l2cachesize": "262144", "hw.l3cachesize": "12582912"}, 12 * MIB),
    ],
)
def test_where_the_kernel_has_no_files_commands_are_asked(
    bare, monkeypatch, command, answers, size
):
    def answer(*words):
        return answers.get(words[-1], "") if words[0] == command else ""

    monkeypatch.setattr(machine, "answer", answer)
    assert last_level_cache().size == size


def test_an_unknown_cache_is_assumed_large_and_said_to_be(bare):
    cache = last_level_cache()
    assert cache.size == ASSUMED_CACHE
    assert "assumed" in cache.source


@pytest.mark.parametrize("command", [("no-such-command",), ("false",)])
def test_a_command_that_fails_answers_nothing(command):
    assert machine.answer(*command) == ""


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, 8192), ("max", 8192), (str(512 * MIB), 512), (str(2**63 - 4096), 8192)],
    ids=["no container", "no limit", "512 MiB", "no limit, as version 1 writes it"],
)
def test_memory_is_what_is_free_and_allowed(bare, limit, expected):
    (bare / "meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    if limit:
        (bare / "memory.max").write_text(f"{limit}\n")
    assert available_memory() == expected * MIB


def test_without_meminfo_half_of_the_memory_counts(bare, monkeypatch):
    known = {"SC_PAGE_SIZE": 16384, "SC_PHYS_PAGES": 2**20}
    monkeypatch.setattr(machine.os, "sysconf", known.get)
    assert available_memory() == 8192 * MIB


def test_a_gpu_is_asked_itself(monkeypatch):
    known = SimpleNamespace(L2_cache_size=50 * MIB)
    monkeypatch.setattr(machine.torch.cuda, "get_device_properties", lambda: known)
    monkeypatch.setattr(machine.torch.cuda, "mem_get_info", lambda: (70 * MIB, 80 * MIB))
    assert last_level_cache("cuda").size == 50 * MIB
    assert available_memory("cuda") == 70 * MIB
