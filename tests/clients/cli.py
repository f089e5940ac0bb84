"""The real `openstack loadbalancer` client through every subcommand group, against a simulated server.

Argument: the API's URL (noauth, noop networks). The client runs in this process, since starting it
costs more than all it does. Prints each command; one that does not succeed is a failure.
"""

import contextlib
import io
import json
import logging
import os
import shlex
import sys
import uuid

os.environ["OS_AUTH_TYPE"] = "none"
os.environ["OS_ENDPOINT"] = sys.argv[1]

from openstackclient import shell  # noqa: E402

FORMATS = {"show", "create", "list"}


def run(line, shown=False):
    """One command; its answer when it is one that shows something."""
    print("openstack loadbalancer " + line, flush=True)
    words = ["loadbalancer", *shlex.split(line)]
    if shown:
        words += ["-f", "json"]
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = shell.OpenStackShell().run(words)
        except SystemExit as bad_arguments:
            code = f"{bad_arguments.code} (arguments)"
    logging.getLogger("").handlers.clear()
    if code:
        raise AssertionError(f"{line}: exit {code}: {out.getvalue()}{errors.getvalue()}")
    return json.loads(out.getvalue()) if shown else out.getvalue()


def show(line):
    return run(line, shown=True)


def refused(line, text):
    """A command that must not succeed, and what it must say."""
    try:
        run(line)
    except AssertionError as error:
        if text in str(error):
            return
        raise
    raise AssertionError(f"{line}: succeeded")


def equal(found, wanted):
    if found != wanted:
        raise AssertionError(f"{found!r} is not {wanted!r}")


def flavors():
    show(
        "flavorprofile create --name fp1 --provider amphora "
        "--flavor-data '{\"loadbalancer_topology\": \"SINGLE\"}'"
    )
    show("flavorprofile list")
    equal(show("flavorprofile show fp1")["provider_name"], "amphora")
    run("flavorprofile set --name fp2 fp1")
    show("flavor create --name f1 --flavorprofile fp2 --description small --enable")
    show("flavor list")
    run("flavor set --description smaller --disable f1")
    equal(show("flavor show f1")["description"], "smaller")
    run("flavor unset --description f1")
    run("flavor set --enable f1")
    show(
        "availabilityzoneprofile create --name ap1 --provider amphora "
        "--availability-zone-data '{\"compute_zone\": \"nova\"}'"
    )
    show("availabilityzoneprofile list")
    show("availabilityzoneprofile show ap1")
    run("availabilityzoneprofile set --name ap2 ap1")
    show("availabilityzone create --name az1 --availabilityzoneprofile ap2 --enable")
    show("availabilityzone list")
    run("availabilityzone set --description here az1")
    run("availabilityzone unset --description az1")
    show("availabilityzone show az1")


def load_balancers():
    subnet = uuid.uuid4()
    made = show(
        f"create --name lb1 --description first --vip-subnet-id {subnet} --flavor f1 "
        "--provider amphora --tag red --enable --wait"
    )
    equal(made["provisioning_status"], "ACTIVE")
    show(f"create --name lb2 --vip-address 192.0.2.9 --vip-network-id {uuid.uuid4()} --wait")
    equal([one["name"] for one in show("list --name lb1")], ["lb1"])
    equal(len(show("list --provisioning-status ACTIVE")), 2)
    equal([one["name"] for one in show("list --tags red")], ["lb1"])
    equal(len(show("list --not-tags red")), 1)
    run("set --name lb1 --description changed --disable --wait lb1")
    run("set --enable --tag blue --wait lb1")
    equal(show("show lb1")["description"], "changed")
    run("unset --description --wait lb1")
    run("failover --wait lb1")
    # Always JSON, and no option to say so.
    equal(json.loads(run("status show lb1"))["loadbalancer"]["name"], "lb1")
    equal(show("stats show lb1")["active_connections"], 0)


def children():
    show("pool create --name p1 --protocol HTTP --lb-algorithm ROUND_ROBIN --loadbalancer lb1 --wait")
    show(
        "listener create --name l1 --protocol HTTP --protocol-port 80 --default-pool p1 "
        "--connection-limit 100 --allowed-cidr 192.0.2.0/24 "
        "--insert-headers X-Forwarded-For=true --wait lb1"
    )
    show("listener list --loadbalancer lb1")
    run("listener set --description web --timeout-client-data 1000 --wait l1")
    run("listener unset --allowed-cidrs --timeout-client-data --connection-limit --wait l1")
    shown = show("listener show l1")
    equal((shown["allowed_cidrs"], shown["timeout_client_data"]), (None, 50000))
    show("listener stats show l1")

    run("pool set --description servers --session-persistence type=SOURCE_IP --wait p1")
    run("pool unset --session-persistence --wait p1")
    show("pool list --loadbalancer lb1")
    show("pool show p1")

    show(
        "member create --name m1 --address 192.0.2.20 --protocol-port 80 --weight 5 "
        "--monitor-port 81 --wait p1"
    )
    run("member set --weight 7 --wait p1 m1")
    run("member unset --monitor-port --wait p1 m1")
    equal(show("member show p1 m1")["weight"], 7)
    show("member list p1")

    show(
        "healthmonitor create --name h1 --type HTTP --delay 5 --timeout 2 --max-retries 3 "
        "--url-path /health --expected-codes 200,204 --wait p1"
    )
    run("healthmonitor set --delay 7 --wait h1")
    run("healthmonitor unset --expected-codes --url-path --wait h1")
    equal(show("healthmonitor show h1")["expected_codes"], "200")
    show("healthmonitor list")

    show("l7policy create --name y1 --action REDIRECT_TO_POOL --redirect-pool p1 --wait l1")
    run("l7policy set --description some --wait y1")
    run("l7policy unset --description --wait y1")
    show("l7policy show y1")
    show("l7policy list")
    rule = show("l7rule create --compare-type STARTS_WITH --type PATH --value /a --wait y1")
    run(f"l7rule set --value /b --invert --wait y1 {rule['id']}")
    run(f"l7rule unset --invert --wait y1 {rule['id']}")
    equal(show(f"l7rule show y1 {rule['id']}")["value"], "/b")
    show("l7rule list y1")

    run(f"l7rule delete --wait y1 {rule['id']}")
    run("l7policy delete --wait y1")
    run("healthmonitor delete --wait h1")
    run("member delete --wait p1 m1")
    run("listener delete --wait l1")
    run("pool delete --wait p1")


def quotas_and_the_rest():
    # The other quota commands look the project up in Keystone; sdk.py goes through what they send.
    show("quota list")
    show("quota defaults show")
    names = {one["name"] for one in show("provider list")}
    equal({"amphora", "octavia"} <= names, True)
    show("provider capability list amphora")
    show("provider capability list amphora --flavor")
    show("provider capability list amphora --availability-zone")
    amphora = show("amphora list")[0]["id"]
    show(f"amphora show {amphora}")
    # There are counters for each listener, and there is no listener any more.
    refused(f"amphora stats show {amphora}", "404")
    run(f"amphora configure {amphora}")
    run(f"amphora failover --wait {amphora}")


def ends():
    refused("show no-such-one", "no-such-one")
    run("delete --cascade --wait lb1")
    run("delete --wait lb2")
    equal(show("list"), [])
    for kind, name in (
        ("availabilityzone", "az1"),
        ("availabilityzoneprofile", "ap2"),
        ("flavor", "f1"),
        ("flavorprofile", "fp2"),
    ):
        run(f"{kind} delete {name}")


flavors()
load_balancers()
children()
quotas_and_the_rest()
ends()
print("done", flush=True)
