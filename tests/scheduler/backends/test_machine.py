"""Limits of cgroups v1 and v2, read from a made-up tree."""

from fitcast.scheduler.backends.machine import usable_cpus, usable_memory_bytes


def tree(tmp_path, files, lines):
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    process = tmp_path / "process"
    process.write_text("\n".join(lines))
    return tmp_path / "cgroup", process


def test_version_2_limits_hold_for_all_below(tmp_path):
    where = tree(
        tmp_path,
        {
            "a/memory.max": "1000000\n",
            "a/b/memory.max": "max\n",
            "a/cpu.max": "50000 100000\n",
            "a/b/cpu.max": "max 100000\n",
        },
        ["0::/a/b"],
    )
    assert usable_memory_bytes(*where) == 1_000_000
    assert usable_cpus(*where) == 1


def test_version_1_limits(tmp_path):
    where = tree(
        tmp_path,
        {
            "memory/job/memory.limit_in_bytes": "2000000",
            "memory/memory.limit_in_bytes": str(2**63 - 4096),
            "cpu,cpuacct/job/cpu.cfs_quota_us": "100000",
            "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
        },
        ["4:memory:/job", "3:cpu,cpuacct:/job"],
    )
    assert usable_memory_bytes(*where) == 2_000_000
    assert usable_cpus(*where) == 1


def test_without_cgroups_the_machine_counts(tmp_path):
    where = tree(tmp_path, {}, [])
    assert usable_cpus(*where) >= 1
    assert usable_memory_bytes(*where) > 2**20
