"""What can be wrong with an image whatever is in it: its server, how it runs, what it holds; one fault each."""

from __future__ import annotations

from fault import SITE, SMALL, Fault, patch, run

from imagecheck import Settings

SERVER = (
    Fault(
        "the server dies at its start",
        "server.answers",
        "see its last lines",
        ("server", "operations.no-tty"),
        'ENTRYPOINT ["jupyter", "lab", "--port=none"]\n',
    ),
    Fault(
        "the server listens on localhost alone",
        "server.answers",
        "0.0.0.0",
        ("server",),
        'ENTRYPOINT ["jupyter", "lab", "--ip=127.0.0.1"]\n',
        settings=Settings(timeout=20),
    ),
    Fault(
        "the server asks for no token",
        "server.token",
        "whoever reaches the port runs code",
        ("server",),
        'ENTRYPOINT ["jupyter", "lab", "--ip=0.0.0.0", "--IdentityProvider.token="]\n',
    ),
    Fault(
        "the kernel's Python finds another torch",
        "server.kernel",
        "kernelspec",
        ("server",),
        run("mkdir /opt/shadow && echo 'raise ImportError(\"not this one\")' > /opt/shadow/torch.py")
        + run(
            "cd /opt/venv/share/jupyter/kernels/python3 && /opt/venv/bin/python -c 'import json; "
            'spec = json.load(open("kernel.json")); spec["env"] = {"PYTHONPATH": "/opt/shadow"}; '
            'json.dump(spec, open("kernel.json", "w"))\''
        ),
    ),
    Fault(
        "the server takes longer to start than it may",
        "operations.start-time",
        "into the build",
        ("server.answers", "operations.start-time"),
        settings=Settings(start_limit=0.1),
    ),
)

OPERATIONS = (
    Fault(
        "torch belongs to one user alone",
        "operations.any-uid",
        "chmod -R a+rX",
        ("stack.imports", "operations.any-uid", "operations.read-only", "operations.offline"),
        run(f"chown 1000 {SITE}/torch/nn && chmod 700 {SITE}/torch/nn"),
    ),
    Fault(
        "importing torch writes to the root",
        "operations.read-only",
        "what is written at start",
        ("stack.imports", "operations.any-uid", "operations.read-only", "operations.offline"),
        patch("torch/__init__.py", 'open("/var/tmp/started" + str(os.getuid()), "w").close()'),
    ),
    Fault(
        "importing torch needs a network",
        "operations.offline",
        "nothing is downloaded at import",
        ("stack.imports", "operations.any-uid", "operations.read-only", "operations.offline"),
        patch(
            "torch/__init__.py",
            """
import socket as _s
if [name for _, name in _s.if_nameindex()] == ["lo"]: raise OSError("no way to the licence server")
""",
        ),
    ),
    Fault(
        "the command wants a terminal",
        "operations.no-tty",
        "[ -t 0 ]",
        ("operations.no-tty",),
        'CMD ["sh", "-c", "test -t 0 || exit 9; exec sleep 600"]\n',
        base=SMALL,
    ),
    Fault(
        "the command does not hear SIGTERM",
        "operations.stops",
        "tini",
        ("operations.no-tty", "operations.stops"),
        'CMD ["sh", "-c", "trap : TERM; while :; do sleep 1; done"]\n',
        base=SMALL,
        settings=Settings(stop_limit=3),
    ),
)

CONTENTS = (
    Fault(
        "a private key was copied in and deleted again",
        "contents.no-secrets",
        "revoke it",
        ("contents",),
        run("mkdir -p /root/.ssh && echo '-----BEGIN OPENSSH PRIVATE KEY-----' > /root/.ssh/deploy")
        + run("rm -r /root/.ssh"),
        base=SMALL,
    ),
    Fault(
        "a token in a variable",
        "contents.no-secrets",
        "--mount=type=secret",
        ("contents",),
        "ENV HF_TOKEN=not-a-real-token\n",
        base=SMALL,
    ),
    Fault(
        "package lists were left behind",
        "contents.no-caches",
        "/var/lib/apt/lists",
        ("contents",),
        run("mkdir -p /var/lib/apt/lists && head -c 3000000 /dev/zero > /var/lib/apt/lists/mirror_Packages"),
        base=SMALL,
    ),
    Fault(
        "a set-uid program",
        "contents.no-setuid",
        "chmod ug-s",
        ("contents",),
        run("cp /bin/cat /usr/local/bin/readall && chmod u+s /usr/local/bin/readall"),
        base=SMALL,
    ),
    Fault(
        "everybody may change the configuration",
        "contents.no-world-writable",
        "chmod o-w",
        ("contents",),
        run("chmod 666 /etc/profile"),
        base=SMALL,
    ),
    Fault("the image runs as root", "contents.not-root", "USER 1000", ("contents",), base=SMALL, user="root"),
    Fault(
        "the image is larger than allowed",
        "contents.size",
        "largest layers",
        ("contents",),
        base=SMALL,
        settings=Settings(max_size=50 * 1024**2),
    ),
)

CONTAINER_FAULTS = (
    *SERVER,
    *OPERATIONS,
    *CONTENTS,
)
