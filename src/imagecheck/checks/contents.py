"""What was left in the image: secrets, caches, rights too wide, weight."""

from __future__ import annotations

import re

from imagecheck.bench import Bench
from imagecheck.engine.contents import Entry
from imagecheck.outcome import Finding, failed, passed
from imagecheck.registry import promise

NAMED = 12
MIB, GIB = 1024**2, 1024**3
# What Debian, Ubuntu, Fedora and Alpine install set-uid or set-gid themselves, by name.
EXPECTED_SETUID = re.compile(
    r"(^|/)(chage|chfn|chsh|expiry|gpasswd|passwd|su|sudo|sg|newgrp|new[ug]idmap|pkexec|crontab|at|wall|write(\.ul)?|"
    r"mount(\.nfs)?|umount|fusermount3?|ping|bbsuid|staprun|userhelper|utempter|unix_chkpwd|pam_extrausers_chkpwd|"
    r"pam_timestamp_check|ssh-agent|ssh-keysign|dbus-daemon-launch-helper)$"
)
SECRET_NAME = re.compile(
    r"(^|/)(id_(rsa|dsa|ecdsa|ed25519)|\.netrc|\.pypirc|\.git-credentials|\.npmrc|\.dockercfg|\.docker/config\.json|"
    r"\.aws/credentials|\.kube/config|\.env|\.cache/huggingface/token|\.huggingface/token|gcloud/credentials\.db)$"
)
SECRET_SETTING = re.compile(
    r"\b([A-Z0-9_]*(?:TOKEN|PASSWORD|PASSWD|SECRET|API_KEY|ACCESS_KEY)[A-Z0-9_]*)=([^\s\"'$|&;]{6,})"
)
CREDENTIALS_IN_URL = re.compile(r"https?://[^/\s:@]+:[^/\s:@$]+@")
CACHES = {
    "pip's downloads": re.compile(r"(^|/)\.cache/pip/|^root/\.cache/uv/|(^|/)\.cache/uv/"),
    "apt's packages": re.compile(r"^var/cache/apt/archives/.*\.deb$|^var/cache/apt/\w*pkgcache\.bin$"),
    "apt's lists": re.compile(r"^var/lib/apt/lists/(?!lock$|partial$|auxfiles).+"),
    "conda's packages": re.compile(r"(^|/)(mini|ana|micro)?(conda3?|mamba)/pkgs/.*\.(conda|tar\.bz2)$"),
    "yum's cache": re.compile(r"^var/cache/(yum|dnf)/.+"),
    "npm's cache": re.compile(r"(^|/)\.npm/_cacache/"),
}
SMALLEST_CACHE = MIB  # less than this is a marker file, not a download


def examples(entries: list[Entry]) -> str:
    told = ", ".join(f"/{entry.path}" for entry in entries[:3])
    return f"{told} and {len(entries) - 3} more" if len(entries) > 3 else told


@promise("contents.no-secrets", "no layer, variable or build step holds a key, a token or a password")
def no_secrets(bench: Bench) -> Finding:
    image = bench.image
    found = [
        f"layer {number}: /{entry.path}" + (f" ({entry.secret})" if entry.secret else "")
        for number, layer in enumerate(bench.contents.layers, 1)
        for entry in layer.entries
        if entry.secret or (entry.kind == "file" and entry.size and SECRET_NAME.search(entry.path))
    ]
    settings = " ".join(f"{name}={value}" for name, value in image.environment.items())
    for where, text in (("variable", settings), *(("build step", step) for step in image.history)):
        found += [f"{where}: {match[1]}=…" for match in SECRET_SETTING.finditer(text)]
        found += [f"{where}: a URL with a password" for _ in CREDENTIALS_IN_URL.finditer(text)]
    if found:
        return failed(
            found[0] + (f" (and {len(found) - 1} more)" if found[1:] else ""),
            remedy="revoke it; rebuild with RUN --mount=type=secret: a later `rm` leaves it in the lower layer",
            found=found[:NAMED],
        )
    return passed(f"none in {len(bench.contents.layers)} layers, {len(image.environment)} variables and the history")


@promise("contents.no-caches", "no package manager's cache is left in a layer")
def no_caches(bench: Bench) -> Finding:
    weights = {
        name: sum(
            entry.size for layer in bench.contents.layers for entry in layer.entries if pattern.search(entry.path)
        )
        for name, pattern in CACHES.items()
    }
    left = {name: size for name, size in weights.items() if size >= SMALLEST_CACHE}
    if left:
        return failed(
            ", ".join(f"{name}: {size // MIB} MiB" for name, size in left.items()),
            remedy="pip --no-cache-dir; in the RUN that filled them: rm -rf /var/lib/apt/lists/*, conda clean -afy",
            bytes=left,
        )
    return passed("none")


@promise("contents.no-setuid", "no set-uid or set-gid program beyond those the distribution ships")
def no_setuid(bench: Bench) -> Finding:
    found = [
        entry
        for entry in bench.contents.visible.values()
        if entry.kind == "file" and entry.mode & 0o6000 and not EXPECTED_SETUID.search(entry.path)
    ]
    if found:
        return failed(
            examples(found),
            remedy="chmod ug-s: whoever runs it becomes its owner",
            files=[f"{entry.mode:o} /{entry.path}" for entry in found[:NAMED]],
        )
    return passed("only the distribution's own")


@promise("contents.no-world-writable", "nothing can be changed by every user, but in folders with the sticky bit")
def no_world_writable(bench: Bench) -> Finding:
    found = [
        entry
        for entry in bench.contents.visible.values()
        if entry.world_writable
        and not (entry.kind == "folder" and entry.mode & 0o1000)
        and not entry.path.startswith(("proc/", "sys/", "dev/"))
    ]
    if found:
        return failed(
            examples(found),
            remedy="chmod o-w; where any user must write, give group 0 the right (chmod g+w), or set the sticky bit",
            files=[f"{entry.mode:o} /{entry.path}" for entry in found[:NAMED]],
        )
    return passed("none")


@promise("contents.not-root", "the image does not run as root unless told")
def not_root(bench: Bench) -> Finding:
    user = bench.image.user.partition(":")[0]
    if user in ("", "0", "root"):
        return failed(
            "USER is root" if user else "no USER: it runs as root",
            remedy="USER 1000 at the end of the Dockerfile, after making what it writes its own",
        )
    return passed(f"USER {bench.image.user}")


@promise("contents.size", "the image unpacks to no more than the size allowed")
def size(bench: Bench) -> Finding:
    limit = bench.settings.max_size
    layers = sorted(((layer.size, number) for number, layer in enumerate(bench.contents.layers, 1)), reverse=True)
    largest = {f"layer {number}": f"{weight / GIB:.2f} GiB" for weight, number in layers[:5]}
    unpacked = sum(weight for weight, _ in layers)  # the engine's own number is of packed layers in containerd's store
    hidden = bench.contents.hidden_bytes
    told = f"{unpacked / GIB:.2f} GiB in {len(layers)} layers, {hidden / MIB:.0f} MiB of it deleted or replaced later"
    facts = {"bytes": unpacked, "limit": limit, "largest": largest, "hidden_bytes": hidden}
    if unpacked > limit:
        return failed(
            f"{told}; allowed {limit / GIB:.1f} GiB",
            remedy="look at the largest layers; delete in the RUN that creates, not in a later one",
            **facts,
        )
    return passed(told, **facts)
