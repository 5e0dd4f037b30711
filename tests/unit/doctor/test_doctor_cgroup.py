"""Quota and memory under every layout of control groups that Docker hosts have."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from workstation.doctor.cgroup import cpu_quota, memory_limit, memory_total, usable_cpus

Plant = Callable[[Mapping[str, str]], Path]

MEMINFO = "MemTotal:       33554432 kB\nMemFree:         1000000 kB\n"
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1_MOUNTS = (
    "78 77 0:29 {root} /sys/fs/cgroup/cpu,cpuacct ro,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
    "81 77 0:32 {root} /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"
)
UNLIMITED_V1 = "9223372036854771712\n"


def v2(**files: str) -> dict[str, str]:
    named = {f"sys/fs/cgroup/{name.replace('_', '.', 1)}": text for name, text in files.items()}
    return {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT, "proc/meminfo": MEMINFO, **named}


def v1(quota: str, limit: str) -> dict[str, str]:
    group = "/docker/0a1b"
    return {
        "proc/self/cgroup": f"4:memory:{group}\n2:cpu,cpuacct:{group}\n0::{group}\n",
        "proc/self/mountinfo": V1_MOUNTS.format(root=group),
        "proc/meminfo": MEMINFO,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": limit,
    }


def test_a_quota_of_cgroup_v2_is_read(plant: Plant) -> None:
    root = plant(v2(cpu_max="150000 100000\n", memory_max="4294967296\n"))
    assert cpu_quota(root) == 1.5
    assert memory_limit(root) == 4 * 1024**3


def test_a_quota_of_cgroup_v1_is_read(plant: Plant) -> None:
    root = plant(v1("150000\n", "4294967296\n"))
    assert cpu_quota(root) == 1.5
    assert memory_limit(root) == 4 * 1024**3


def test_no_limit_is_none_under_v2(plant: Plant) -> None:
    root = plant(v2(cpu_max="max 100000\n", memory_max="max\n"))
    assert cpu_quota(root) is None
    assert memory_limit(root) is None


def test_no_limit_is_none_under_v1(plant: Plant) -> None:
    root = plant(v1("-1\n", UNLIMITED_V1))
    assert cpu_quota(root) is None
    assert memory_limit(root) is None


def test_the_tightest_group_above_this_one_rules(plant: Plant) -> None:
    """A Kubernetes pod limits all of its containers together; on a host the service's slice does."""
    root = plant(
        v2()
        | {
            "proc/self/cgroup": "0::/pod/container\n",
            "sys/fs/cgroup/pod/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/pod/memory.max": "2147483648\n",
            "sys/fs/cgroup/pod/container/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/container/memory.max": "4294967296\n",
        }
    )
    assert cpu_quota(root) == 2.0
    assert memory_limit(root) == 2 * 1024**3


def test_the_hybrid_layout_finds_the_limits_of_v1(plant: Plant) -> None:
    hybrid = v1("50000\n", "1073741824\n")
    hybrid["proc/self/mountinfo"] += "84 77 0:38 /docker/0a1b /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n"
    root = plant(hybrid)
    assert cpu_quota(root) == 0.5
    assert memory_limit(root) == 1024**3


def test_a_group_of_another_namespace_is_read_at_the_mount(plant: Plant) -> None:
    root = plant(v2(cpu_max="100000 100000\n") | {"proc/self/cgroup": "0::/../../system.slice\n"})
    assert cpu_quota(root) == 1.0


def test_a_quota_is_rounded_up_to_whole_threads_and_never_to_none(plant: Plant) -> None:
    mask = len(os.sched_getaffinity(0))
    assert usable_cpus(plant(v2(cpu_max="150000 100000\n"))) == min(2, mask)
    assert usable_cpus(plant(v2(cpu_max="10000 100000\n"))) == 1
    assert usable_cpus(plant(v2(cpu_max="100000000 100000\n"))) == mask


def test_where_proc_says_nothing_there_is_no_limit(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert memory_limit(tmp_path) is None
    assert memory_total(tmp_path) is None
    assert usable_cpus(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("text", ["", "max", "a b\n"])
def test_an_unreadable_quota_is_no_quota(plant: Plant, text: str) -> None:
    assert cpu_quota(plant(v2(cpu_max=text))) is None
