"""deploy/cloud-init.yaml, judged by the programs that will read it: cloud-init, a shell's linter, systemd, Docker."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from throwaway import DEPLOY, TOOLS, debian_package, run, venv

USER_DATA = DEPLOY / "cloud-init.yaml"


def schema_says(file: Path) -> tuple[bool, str]:
    """`cloud-init schema`, the program itself."""
    package = debian_package("cloud-init") / "usr" / "lib" / "python3" / "dist-packages"
    python = venv("checks", TOOLS / "checks.txt") / "python"
    asked = run(
        python, "-m", "cloudinit.cmd.main", "schema", "--config-file", file, environment={"PYTHONPATH": str(package)}
    )
    return asked.returncode == 0, asked.stdout


def test_cloud_init_accepts_every_key() -> None:
    accepted, said = schema_says(USER_DATA)
    assert accepted, said
    assert "deprecat" not in said.lower()


@pytest.mark.parametrize(("right", "wrong"), [("write_files:", "write_file:"), ('permissions: "0755"', "mode: 0755")])
def test_a_misspelled_key_is_refused(tmp_path: Path, right: str, wrong: str) -> None:
    text = USER_DATA.read_text()
    assert right in text
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace(right, wrong))
    accepted, said = schema_says(broken)
    assert not accepted
    assert wrong.partition(":")[0] in said


def test_shellcheck_finds_nothing_in_the_scripts(user_data: dict[str, Any], vm: Path, tmp_path: Path) -> None:
    scripts = [path for path in sorted(vm.rglob("*")) if path.is_file() and path.read_text().startswith("#!")]
    assert len(scripts) == 7
    assert all(script.stat().st_mode & stat.S_IXUSR for script in scripts)
    commands = tmp_path / "runcmd.sh"
    commands.write_text("#!/bin/sh\n" + "\n".join(user_data["runcmd"]))
    checked = run("shellcheck", *scripts, commands)
    assert checked.returncode == 0, checked.stdout


def test_shellcheck_finds_an_unquoted_name(vm: Path, tmp_path: Path) -> None:
    script = (vm / "usr/local/sbin/torch-workstation-run").read_text()
    broken = tmp_path / "broken"
    broken.write_text(script.replace('"$IMAGE"', "$IMAGE"))
    assert broken.read_text() != script
    assert run("shellcheck", broken).returncode != 0


def verified(unit: str, vm: Path, folder: Path) -> list[str]:
    """What `systemd-analyze verify` says of the unit, its scripts looked for in `vm`; Docker's own unit is not here."""
    folder.mkdir()
    file = folder / "torch-workstation.service"
    file.write_text(unit.replace("/usr/local/sbin/", f"{vm}/usr/local/sbin/").replace("Requires=docker.service\n", ""))
    said = run("systemd-analyze", "verify", "--man=no", file).stdout
    return [line for line in said.splitlines() if file.name in line]


def test_systemd_accepts_the_unit(vm: Path, tmp_path: Path) -> None:
    unit = (vm / "etc/systemd/system/torch-workstation.service").read_text()
    assert verified(unit, vm, tmp_path / "right") == []
    broken = unit.replace("RestartPreventExitStatus", "RestartPreventedExitStatus")
    assert any("RestartPreventedExitStatus" in line for line in verified(broken, vm, tmp_path / "misspelled"))
    broken = unit.replace("torch-workstation-token", "torch-workstation-tokens")
    assert any("torch-workstation-tokens" in line for line in verified(broken, vm, tmp_path / "script missing"))


def test_the_unit_comes_back_after_a_boot_and_a_crash(vm: Path) -> None:
    unit = (vm / "etc/systemd/system/torch-workstation.service").read_text().splitlines()
    assert {"WantedBy=multi-user.target", "Restart=always", "Requires=docker.service"} <= set(unit)


def test_apt_is_told_to_wait_for_its_turn(vm: Path) -> None:
    settings = {"APT_CONFIG": str(vm / "etc/apt/apt.conf.d/90-torch-workstation")}
    read = run("apt-config", "dump", "DPkg::Lock::Timeout", environment=settings)
    assert read.stdout == 'DPkg::Lock::Timeout "600";\n'


def test_the_engine_accepts_its_settings(vm: Path, tmp_path: Path) -> None:
    settings = vm / "etc/docker/daemon.json"
    assert run("dockerd", "--validate", "--config-file", settings).returncode == 0
    broken = tmp_path / "daemon.json"
    broken.write_text(settings.read_text().replace("features", "feature"))
    assert run("dockerd", "--validate", "--config-file", broken).returncode != 0
