"""A whole Keystone in one process: its own SQLite file and Fernet keys, served on a free port.

Arguments: a directory of its own, and as JSON who is to exist. Prints one line of JSON once it
answers, and ends when its standard input does, so also when whoever started it is killed.
"""

import json
import logging
import os
import socketserver
import sys
import threading
import uuid
from wsgiref import simple_server


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 128


def one_at_a_time(application):
    """Keystone is run by processes, not by threads: with these it now and then finds no role where
    one is assigned."""
    turn = threading.Lock()

    def serve(environ, start_response):
        with turn:
            answer = application(environ, start_response)
            try:
                return list(answer)
            finally:
                getattr(answer, "close", lambda: None)()

    return serve


class Handler(simple_server.WSGIRequestHandler):
    def log_message(self, format, *args):
        pass


def configure(directory, url):
    path = os.path.join(directory, "keystone.conf")
    repository = os.path.join(directory, "keys")
    with open(path, "w") as config:
        config.write(f"""
[DEFAULT]
public_endpoint = {url}
[database]
connection = sqlite:///{directory}/keystone.db
[fernet_tokens]
key_repository = {repository}/tokens
[fernet_receipts]
key_repository = {repository}/receipts
[credential]
key_repository = {repository}/credentials
[token]
provider = fernet
expiration = 3600
[identity]
password_hash_rounds = 4
[cache]
enabled = false
[oslo_policy]
policy_file = {directory}/policy.yaml
""")
    for name in ("tokens", "receipts", "credentials"):
        os.makedirs(os.path.join(repository, name), mode=0o700)
    return path


def make_keys(conf):
    from keystone.common import fernet_utils

    for group, count in (("fernet_tokens", 3), ("fernet_receipts", 3), ("credential", 3)):
        repository = conf[group].key_repository
        utils = fernet_utils.FernetUtils(repository, count, group)
        utils.initialize_key_repository()


def populate(url, wanted):
    from keystone.cmd import bootstrap
    from keystone.common import provider_api

    # The application has loaded them, and they can be loaded once.
    bootstrap.backends.load_backends = lambda: None
    first = bootstrap.Bootstrapper()
    first.admin_password = wanted["admin_password"]
    first.admin_username = "admin"
    first.project_name = "admin"
    first.admin_role_name = "admin"
    first.service_name = "keystone"
    first.public_url = first.internal_url = first.admin_url = f"{url}/v3"
    first.region_id = "RegionOne"
    first.bootstrap()

    providers = provider_api.ProviderAPIs
    roles = {role["name"]: role["id"] for role in providers.role_api.list_roles()}
    projects, users = {}, {}
    for name in wanted["projects"]:
        made = {"id": uuid.uuid4().hex, "name": name, "domain_id": "default", "enabled": True,
                "description": "", "parent_id": "default", "is_domain": False}
        projects[name] = providers.resource_api.create_project(made["id"], made)["id"]
    for user in wanted["users"]:
        made = {"name": user["name"], "password": user["password"], "domain_id": "default",
                "enabled": True, "default_project_id": projects[user["project"]]}
        made = providers.identity_api.create_user(made)
        users[user["name"]] = made["id"]
        for role in user["roles"]:
            if role not in roles:
                new = {"id": uuid.uuid4().hex, "name": role}
                roles[role] = providers.role_api.create_role(new["id"], new)["id"]
            providers.assignment_api.add_role_to_user_and_project(
                made["id"], projects[user["project"]], roles[role])
    for service in wanted["services"]:
        made = {"id": uuid.uuid4().hex, "type": service["type"], "name": service["type"],
                "enabled": True}
        providers.catalog_api.create_service(made["id"], made)
        for interface in ("public", "internal", "admin"):
            endpoint = {"id": uuid.uuid4().hex, "service_id": made["id"], "interface": interface,
                        "url": service["url"], "region_id": "RegionOne", "enabled": True}
            providers.catalog_api.create_endpoint(endpoint["id"], endpoint)
    return {"projects": projects, "users": users}


def main():
    directory, wanted = sys.argv[1], json.loads(sys.argv[2])
    logging.disable(logging.WARNING)
    server = Server(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    path = configure(directory, url)

    import keystone.conf
    from keystone.common import sql
    from keystone.common.sql import upgrades
    from keystone.server.flask.core import initialize_application

    sys.argv = sys.argv[:1]
    sql.initialize()
    keystone.conf.configure()
    keystone.conf.CONF([], project="keystone", default_config_files=[path])
    make_keys(keystone.conf.CONF)
    upgrades.offline_sync_database_to_version()
    keystone.conf.CONF.reset()
    application = initialize_application(
        name="public",
        config_files=[path],
        post_log_configured_function=lambda: logging.disable(logging.WARNING))
    told = populate(url, wanted)
    server.set_app(one_at_a_time(application))
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    told["url"] = url
    print(json.dumps(told), flush=True)
    server.serve_forever()


main()
