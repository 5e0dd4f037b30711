"""Jupyter's settings in the image. What a person chooses (port, base URL, token, TLS) `workstation-start` passes on."""

from pathlib import Path

from simpervisor import atexitasync

from workstation import server
from workstation.server.signatures import Signatures

c = get_config()  # noqa: F821 (Jupyter runs this file with it in scope)
home = Path.home()

# All interfaces of the container; which of the host's are bound is `docker run --publish`'s to say.
c.ServerApp.ip = "0.0.0.0"
# The printed link and the health check know one port: a taken one is an error, not a reason for another.
c.ServerApp.port_retries = 0
# `--user 0` was said on Docker's command line already; in a rootless engine, 0 is the person.
c.ServerApp.allow_root = True
c.ServerApp.open_browser = False
c.ServerApp.root_dir = str(home)
c.ServerApp.terminals_enabled = True
# Not the default login shell: Debian's /etc/profile sets PATH anew, without the virtual environment.
c.ServerApp.terminado_settings = {"shell_command": ["bash"]}
c.ServerApp.quit_button = True
c.ContentsManager.allow_hidden = False
# The container has no trash that would outlive it.
c.FileContentsManager.delete_to_trash = False
# With the default store a home without room answers 500 even to opening a notebook.
c.NotebookNotary.store_factory = Signatures.of_this_person

# Ctrl-C in `docker run -it` stops at once. A kernel gets an interrupt at once, SIGTERM after half this time and SIGKILL
# after all of it: within the 5 s promised even on a loaded machine, and the 10 s that `docker stop` waits.
c.JupyterApp.answer_yes = True
c.KernelManager.shutdown_wait_time = 1.5
# Once TensorBoard has been opened, its supervisor would take SIGTERM for itself, exit at once and leave the kernels to
# be killed (simpervisor#38). It need not: tini's -g tells TensorBoard too.
atexitasync.signal_handler_set = True
# Sockets in the runtime directory (mode 0700): with `--network host`, TCP ports would be the whole host's to reach.
c.KernelManager.transport = "ipc"

# The start has printed the link; from here on only what is wrong.
c.Application.log_level = "WARN"
c.Application.logging_config = {
    "filters": {"discretion": {"()": "workstation.server.log.Discretion"}},
    "handlers": {"console": {"filters": ["discretion"]}},
}

# No network calls that nobody asked for.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"

c.ServerProxy.servers = {
    "tensorboard": {
        "command": [
            "tensorboard",
            f"--logdir={home / 'runs'}",
            "--host=127.0.0.1",
            "--port={port}",
            "--path_prefix={base_url}tensorboard",
        ],
        "absolute_url": True,
        "timeout": 60,
        "launcher_entry": {
            "title": "TensorBoard",
            "icon_path": str(Path(server.__file__).with_name("tensorboard.svg")),
            "category": "Other",
        },
    }
}
