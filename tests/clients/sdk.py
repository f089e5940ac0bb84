"""openstacksdk through every load-balancer resource and method, against a simulated server.

Argument: the API's URL (noauth, noop networks). Prints a line per step; any exception is a failure.
"""

import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import openstack
from openstack import exceptions

URL = sys.argv[1]


def connect():
    return openstack.connection.Connection(
        auth_type="none",
        endpoint=URL,
        region_name="",
    )


conn = connect()
lb = conn.load_balancer


def step(text):
    print(text, flush=True)


def equal(found, wanted):
    if found != wanted:
        raise AssertionError(f"{found!r} is not {wanted!r}")


def settle(load_balancer):
    """Until it is ACTIVE: a change is a blink."""
    return lb.wait_for_load_balancer(load_balancer.id, status="ACTIVE", interval=0.02, wait=10)


def gone(get, *arguments):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            get(*arguments)
        except exceptions.NotFoundException:
            return
        time.sleep(0.02)
    raise AssertionError(f"{arguments} is still there")


def verbs(kind, create, update, owner=None, plural=None, parent=()):
    """Create, get, find, list with a filter, update; gives the object. Deleting comes at the end."""
    plural = plural or kind + "s"
    name = f"sdk-{kind}"
    made = getattr(lb, "create_" + kind)(*parent, name=name, **create)
    if owner:
        settle(owner)
    got = getattr(lb, "get_" + kind)(*([made.id] + list(parent)))
    equal(got.name, name)
    found = getattr(lb, "find_" + kind)(*([name] + list(parent)))
    equal(found.id, made.id)
    listed = list(getattr(lb, plural)(*parent, name=name))
    equal([one.id for one in listed], [made.id])
    equal(list(getattr(lb, plural)(*parent, name="no such name")), [])
    changed = getattr(lb, "update_" + kind)(*([made.id] + list(parent)), **update)
    for key, value in update.items():
        equal(getattr(changed, key), value)
    if owner:
        settle(owner)
    step(f"{kind}: created, read, found, listed, updated")
    return made


def delete(kind, object_id, owner=None, parent=()):
    getattr(lb, "delete_" + kind)(object_id, *parent, ignore_missing=False)
    if owner:
        settle(owner)
    gone(getattr(lb, "get_" + kind), object_id, *parent)
    step(f"{kind}: deleted")


def resources():
    flavor_profile = verbs(
        "flavor_profile",
        {"provider_name": "amphora", "flavor_data": '{"loadbalancer_topology": "SINGLE"}'},
        {"name": "sdk-renamed-profile"},
    )
    flavor = verbs(
        "flavor",
        {"flavor_profile_id": flavor_profile.id, "is_enabled": True, "description": "small"},
        {"description": "smaller"},
    )
    zone_profile = verbs(
        "availability_zone_profile",
        {"provider_name": "amphora", "availability_zone_data": '{"compute_zone": "nova"}'},
        {"name": "sdk-renamed-zone-profile"},
    )
    lb.create_availability_zone(
        name="sdk-zone", availability_zone_profile_id=zone_profile.id, is_enabled=True
    )
    equal(lb.get_availability_zone("sdk-zone").name, "sdk-zone")
    lb.update_availability_zone("sdk-zone", description="here")
    equal([zone.name for zone in lb.availability_zones()], ["sdk-zone"])

    owner = lb.create_load_balancer(
        name="sdk-lb", vip_subnet_id=str(uuid.uuid4()), flavor_id=flavor.id, tags=["one", "two"]
    )
    equal(owner.provisioning_status, "PENDING_CREATE")
    settle(owner)
    equal(lb.find_load_balancer("sdk-lb").id, owner.id)
    equal([one.id for one in lb.load_balancers(tags="one")], [owner.id])
    lb.update_load_balancer(owner.id, description="changed", is_admin_state_up=True)
    settle(owner)
    equal(lb.get_load_balancer(owner.id).description, "changed")
    tree = lb.get(f"/lbaas/loadbalancers/{owner.id}/status").json()
    equal(tree["statuses"]["loadbalancer"]["name"], "sdk-lb")
    equal(lb.get_load_balancer_statistics(owner.id).active_connections, 0)
    lb.failover_load_balancer(owner.id)
    settle(owner)
    step("load balancer: created, found, listed, updated, its statuses and statistics, failed over")

    pool = verbs(
        "pool",
        {"loadbalancer_id": owner.id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
        {"description": "changed"},
        owner,
    )
    listener = verbs(
        "listener",
        {
            "loadbalancer_id": owner.id,
            "protocol": "HTTP",
            "protocol_port": 80,
            "default_pool_id": pool.id,
        },
        {"description": "changed"},
        owner,
    )
    equal(lb.get_listener_statistics(listener.id).total_connections, 0)
    verbs_of_pool(owner, pool)
    verbs_of_l7(owner, listener)
    delete("listener", listener.id, owner)
    delete("pool", pool.id, owner)

    amphorae = list(lb.amphorae(loadbalancer_id=owner.id))
    equal(len(amphorae), 1)
    equal(lb.get_amphora(amphorae[0].id).loadbalancer_id, owner.id)
    equal(lb.find_amphora(amphorae[0].id).id, amphorae[0].id)
    lb.configure_amphora(amphorae[0].id)
    lb.failover_amphora(amphorae[0].id)
    settle(owner)
    step("amphora: listed, read, configured, failed over")

    lb.delete_load_balancer(owner.id, cascade=True)
    gone(lb.get_load_balancer, owner.id)
    step("load balancer: deleted with all it had")
    lb.delete_availability_zone("sdk-zone", ignore_missing=False)
    delete("availability_zone_profile", zone_profile.id)
    delete("flavor", flavor.id)
    delete("flavor_profile", flavor_profile.id)


def verbs_of_pool(owner, pool):
    member = lb.create_member(pool.id, name="sdk-member", address="192.0.2.10", protocol_port=80)
    settle(owner)
    equal(lb.get_member(member.id, pool.id).name, "sdk-member")
    equal(lb.find_member("sdk-member", pool.id).id, member.id)
    equal([one.id for one in lb.members(pool.id, name="sdk-member")], [member.id])
    equal(lb.update_member(member.id, pool.id, weight=5).weight, 5)
    settle(owner)
    step("member: created, read, found, listed, updated")
    monitor = verbs(
        "health_monitor",
        {"pool_id": pool.id, "type": "HTTP", "delay": 5, "timeout": 2, "max_retries": 3},
        {"delay": 6},
        owner,
    )
    wanted = [{"address": f"192.0.2.{last}", "protocol_port": 80} for last in (10, 11, 12)]
    lb.put(f"/lbaas/pools/{pool.id}/members", json={"members": wanted}).raise_for_status()
    settle(owner)
    equal(len(list(lb.members(pool.id))), 3)
    equal(member.id in [one.id for one in lb.members(pool.id)], True)
    step("members: replaced in a batch, the one that stayed kept its id")
    delete("health_monitor", monitor.id, owner)
    delete("member", member.id, owner, (pool.id,))


def verbs_of_l7(owner, listener):
    policy = lb.create_l7_policy(name="sdk-policy", listener_id=listener.id, action="REJECT")
    settle(owner)
    equal(lb.find_l7_policy("sdk-policy").id, policy.id)
    equal([one.id for one in lb.l7_policies(name="sdk-policy")], [policy.id])
    equal(lb.update_l7_policy(policy.id, description="changed").description, "changed")
    settle(owner)
    rule = lb.create_l7_rule(
        policy.id, compare_type="STARTS_WITH", type="PATH", rule_value="/private"
    )
    settle(owner)
    equal(lb.get_l7_rule(rule.id, policy.id).rule_value, "/private")
    equal([one.id for one in lb.l7_rules(policy.id)], [rule.id])
    equal(lb.update_l7_rule(rule.id, policy.id, rule_value="/other").rule_value, "/other")
    settle(owner)
    step("L7 policy and rule: created, read, found, listed, updated")
    delete("l7_rule", rule.id, owner, (policy.id,))
    delete("l7_policy", policy.id, owner)


def quotas_and_providers():
    project = uuid.uuid4().hex
    equal(lb.update_quota(project, load_balancers=7).load_balancers, 7)
    equal(lb.get_quota(project).load_balancers, 7)
    equal(len(list(lb.quotas())) >= 1, True)
    default = lb.get_quota_default()
    lb.delete_quota(project)
    equal(lb.get_quota(project).load_balancers, default.load_balancers)
    names = [provider.name for provider in lb.providers()]
    equal({"amphora", "octavia"} <= set(names), True)
    equal(len(list(lb.provider_flavor_capabilities("amphora"))) > 0, True)
    lb.get("/lbaas/providers/amphora/availability_zone_capabilities").raise_for_status()
    step("quotas, providers and their capabilities")


def pages():
    subnet = str(uuid.uuid4())
    made = [lb.create_load_balancer(name=f"page-{n}", vip_subnet_id=subnet).id for n in range(7)]
    listed = [one.id for one in lb.load_balancers(limit=3) if one.name.startswith("page-")]
    equal(sorted(listed), sorted(made))
    for one in made:
        settle(lb.get_load_balancer(one))
        lb.delete_load_balancer(one)
    step("lists in pages of three")


def burst():
    """As Terraform does: everything at once, children of one load balancer too, without one 409."""
    owner = lb.create_load_balancer(name="burst", vip_subnet_id=str(uuid.uuid4()))

    def listener(number):
        client = connect().load_balancer
        made = client.create_listener(
            name=f"burst-{number}",
            loadbalancer_id=owner.id,
            protocol="HTTP",
            protocol_port=1000 + number,
        )
        pool = client.create_pool(
            name=f"burst-{number}", listener_id=made.id, protocol="HTTP", lb_algorithm="ROUND_ROBIN"
        )
        client.create_member(pool.id, address="192.0.2.77", protocol_port=1000 + number)
        return pool.id

    with ThreadPoolExecutor(10) as workers:
        pools = list(workers.map(listener, range(20)))
    settle(owner)
    shown = lb.get_load_balancer(owner.id)
    equal((len(shown.listeners), len(shown.pools), len(set(pools))), (20, 20, 20))
    lb.delete_load_balancer(owner.id, cascade=True)
    gone(lb.get_load_balancer, owner.id)
    step("a burst of sixty creates under one load balancer, ten at a time")


resources()
quotas_and_providers()
pages()
burst()
step("done")
