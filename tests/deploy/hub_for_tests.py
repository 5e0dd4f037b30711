"""deploy/jupyterhub's configuration, with what a site adds to it: who may log in, and ports that are free here."""

import os

c = get_config()  # noqa: F821 (JupyterHub runs this file with it in scope)
load_subconfig(os.environ["SHIPPED"])  # noqa: F821

c.JupyterHub.bind_url = os.environ["BIND_URL"]
c.JupyterHub.hub_port = int(os.environ["HUB_PORT"])
c.ConfigurableHTTPProxy.api_url = os.environ["PROXY_API"]
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ["PASSWORD"]
c.Authenticator.allowed_users = {"ada", "grace"}
c.DockerSpawner.prefix = os.environ["NETWORK"]
shipped = c.DockerSpawner.volumes
c.DockerSpawner.volumes = {
    name.replace("torch-workstation", os.environ["NETWORK"]): path for name, path in shipped.items()
}
