"""A whole Barbican in one process: its own SQLite file and master key, served on a free port.

Arguments: a directory of its own, and as JSON the Identity service and its service user. Prints its
URL once it answers, and ends when its standard input does.
"""

import base64
import json
import logging
import os
import sys
import threading
from wsgiref import simple_server

PASTE = """
[composite:main]
use = egg:Paste#urlmap
/: versions
/v1: v1
[pipeline:versions]
pipeline = microversion versionapp
[pipeline:v1]
pipeline = authtoken context microversion apiapp
[app:apiapp]
paste.app_factory = barbican.api.app:create_main_app
[app:versionapp]
paste.app_factory = barbican.api.app:create_version_app
[filter:context]
paste.filter_factory = barbican.api.middleware.context:ContextMiddleware.factory
[filter:microversion]
paste.filter_factory = barbican.api.middleware.microversion:MicroversionMiddleware.factory
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
"""


class Handler(simple_server.WSGIRequestHandler):
    def log_message(self, format, *args):
        pass


def configure(directory, url, identity):
    paste = os.path.join(directory, "paste.ini")
    with open(paste, "w") as config:
        config.write(PASTE)
    path = os.path.join(directory, "barbican.conf")
    key = base64.urlsafe_b64encode(os.urandom(32)).decode()
    with open(path, "w") as config:
        config.write(f"""
[DEFAULT]
host_href = {url}
db_auto_create = true
[database]
connection = sqlite:///{directory}/barbican.db
[simple_crypto_plugin]
kek = {key}
[keystone_authtoken]
www_authenticate_uri = {identity["url"]}
auth_url = {identity["url"]}
auth_type = password
username = {identity["user"]}
password = {identity["password"]}
project_name = {identity["project"]}
user_domain_id = default
project_domain_id = default
service_token_roles_required = true
""")
    return paste, path


def main():
    directory, identity = sys.argv[1], json.loads(sys.argv[2])
    sys.argv = sys.argv[:1]
    # Requests are served one after another: SQLite has one writer.
    server = simple_server.WSGIServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    paste, path = configure(directory, url, identity)

    # It reads its configuration when it is imported.
    import oslo_config.cfg

    oslo_config.cfg.find_config_files = lambda *args, **more: [path]
    logging.disable(logging.WARNING)
    from paste import deploy

    server.set_app(deploy.loadapp(f"config:{paste}", name="main"))
    logging.disable(logging.WARNING)
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    print(url, flush=True)
    server.serve_forever()


main()
