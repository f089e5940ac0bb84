"""octavia-tempest-plugin's API tests (its `test_with_noop` set-up) against a simulated server that
asks a real Keystone. Not part of `cargo xtask test`: it takes some ten minutes. `cargo xtask tempest`
runs it, as

    python tempest_api.py DIRECTORY KEYSTONE_URL ADMIN_PASSWORD [MODULE,…] [REGEX]

Keystone's catalogue must name the server as load-balancer service in RegionOne. One set of users is
made for all classes: Keystone is what takes the time. What the simulated agent measures is expected
to be shown, where the plugin's own no-op driver measures nothing.
"""

import importlib
import os
import re
import sys
import unittest
from pathlib import Path

MODULES = (
    "provider,flavor_profile,flavor,flavor_capabilities,availability_zone_profile,"
    "availability_zone,availability_zone_capabilities,amphora,load_balancer,listener,l7policy,"
    "l7rule,healthmonitor,pool,member"
)
CONFIGURATION = """
[DEFAULT]
log_file = {directory}/tempest.log
[oslo_concurrency]
lock_path = {directory}
[auth]
use_dynamic_credentials = true
create_isolated_networks = false
admin_username = admin
admin_password = {password}
admin_project_name = admin
admin_domain_name = Default
[identity]
uri_v3 = {keystone}
auth_version = v3
region = RegionOne
[network]
project_networks_reachable = true
[service_available]
neutron = false
nova = false
glance = false
cinder = false
swift = false
[load_balancer]
test_with_noop = true
build_interval = 0.2
check_interval = 0.2
lb_build_interval = 0.2
build_timeout = 30
check_timeout = 30
lb_build_timeout = 30
provider = amphora
availability_zone = nova
RBAC_test_type = keystone_default_roles
log_user_roles = false
region = RegionOne
"""

directory, keystone, password = sys.argv[1:4]
modules = (sys.argv[4] if len(sys.argv) > 4 else "") or MODULES
only = re.compile(sys.argv[5] if len(sys.argv) > 5 else "")
Path(directory, "tempest.conf").write_text(
    CONFIGURATION.format(directory=directory, keystone=keystone, password=password)
)
os.environ["TEMPEST_CONFIG_DIR"] = directory
os.environ["TEMPEST_CONFIG"] = "tempest.conf"

import tempest.test  # noqa: E402
from octavia_tempest_plugin.tests import test_base  # noqa: E402
from tempest import config  # noqa: E402


def share_users():
    """The n-th user a class asks for is the n-th of all classes; nothing is cleared between."""
    base, ours = tempest.test.BaseTestCase, test_base.LoadBalancerBaseTest
    made, cache = base.get_client_manager.__func__, {}
    make_provider = base._get_credentials_provider.__func__
    make_stranger = ours._setup_new_user_role_client.__func__

    def manager(cls, credential_type=None, roles=None, force_new=None, scope=None):
        number = cls.__dict__.get("_asked", 0)
        cls._asked = number + 1
        key = (number, credential_type, tuple(roles or ()), scope)
        if key not in cache:
            cache[key] = made(cls, credential_type, roles, force_new, scope)
        return cache[key]

    def once(key, make):
        return lambda cls, *given: cache.get(key) or cache.setdefault(key, make(cls, *given))

    base.get_client_manager = classmethod(manager)
    base._get_credentials_provider = classmethod(once("provider", make_provider))
    ours._setup_new_user_role_client = classmethod(once("stranger", make_stranger))
    for one in (base, ours):
        one.clear_credentials = classmethod(lambda cls: None)


class Measured:
    """The configuration as a test sees it outside its set-up."""

    test_with_noop = False

    def __getattr__(self, name):
        if name == "load_balancer":
            return Section()
        return getattr(config.CONF, name)


class Section(Measured):
    def __getattr__(self, name):
        return getattr(config.CONF.load_balancer, name)


def expect_measured(module):
    """Set-up sees the no-op, the tests do not."""
    plain = module.CONF
    for kind in vars(module).values():
        for hook in ("skip_checks", "resource_setup"):
            if isinstance(kind, type) and kind is not test_base.LoadBalancerBaseTest:
                if hook in vars(kind):
                    setattr(kind, hook, classmethod(with_config(module, plain, vars(kind)[hook])))
    module.CONF = Measured()


def with_config(module, plain, hook):
    def run(cls):
        measured, module.CONF = module.CONF, plain
        try:
            return hook.__func__(cls)
        finally:
            module.CONF = measured

    return run


def tests(suite):
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from tests(one)
        else:
            yield one


# With the no-op driver it names the IPv4 network beside an IPv6 subnet, and what is measured is then
# expected to be in the IPv6 network: the no-op's own runs never get that far.
CONTRADICTS_ITSELF = "test_load_balancer_ipv6_create"

share_users()
chosen = unittest.TestSuite()
for name in modules.split(","):
    module = importlib.import_module("octavia_tempest_plugin.tests.api.v2.test_" + name)
    if hasattr(module, "CONF"):
        expect_measured(module)
    for test in tests(unittest.defaultTestLoader.loadTestsFromModule(module)):
        if only.search(test.id()) and CONTRADICTS_ITSELF not in test.id():
            chosen.addTest(test)
result = unittest.TextTestRunner(verbosity=2).run(chosen)
sys.exit(0 if result.wasSuccessful() else 1)
