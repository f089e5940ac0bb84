"""The real `openstack secret` client against the embedded Key Manager, up to listeners that are served
with what it stored.

Argument: the API's URL (noauth, noop networks). Prints each command; one that does not succeed is a
failure.
"""

import base64
import contextlib
import io
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import uuid

os.environ["OS_AUTH_TYPE"] = "none"
os.environ["OS_ENDPOINT"] = sys.argv[1]

from openstackclient import shell  # noqa: E402


def run(*words):
    """One command; what it printed."""
    print("openstack " + " ".join(word[:60] for word in words), flush=True)
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = shell.OpenStackShell().run(list(words))
        except SystemExit as bad_arguments:
            code = f"{bad_arguments.code} (arguments)"
    logging.getLogger("").handlers.clear()
    if code:
        raise AssertionError(f"{words}: exit {code}: {out.getvalue()}{errors.getvalue()}")
    return out.getvalue().strip()


def refused(text, *words):
    """A command that must not succeed, and what it must say."""
    try:
        run(*words)
    except AssertionError as error:
        if text in str(error):
            return
        raise
    raise AssertionError(f"{words}: succeeded")


def equal(found, wanted):
    if found != wanted:
        raise AssertionError(f"{found!r} is not {wanted!r}")


def certificate(directory):
    """Key, certificate and both as PKCS#12 without a passphrase."""
    key, cert, both = (directory / name for name in ("key.pem", "cert.pem", "both.p12"))
    quiet = {"check": True, "capture_output": True}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
         "-subj", "/CN=www.example.test", "-keyout", key, "-out", cert], **quiet)
    subprocess.run(
        ["openssl", "pkcs12", "-export", "-inkey", key, "-in", cert, "-passout", "pass:",
         "-out", both], **quiet)
    return key.read_text(), cert.read_text(), both.read_bytes()


def store(name, payload, content_type, *more):
    return run("secret", "store", "--name", name, "--payload", payload,
               "--payload-content-type", content_type, *more,
               "-f", "value", "-c", "Secret href")


def listener(name, port, ref, lb):
    made = json.loads(run(
        "loadbalancer", "listener", "create", "--name", name, "--protocol", "TERMINATED_HTTPS",
        "--protocol-port", str(port), "--default-tls-container-ref", ref, "--wait", lb,
        "-f", "json"))
    equal((made["provisioning_status"], made["default_tls_container_ref"]), ("ACTIVE", ref))


with tempfile.TemporaryDirectory() as directory:
    key, cert, both = certificate(pathlib.Path(directory))

lb = run("loadbalancer", "create", "--vip-subnet-id", str(uuid.uuid4()), "--wait",
         "-f", "value", "-c", "id")

pkcs12 = store("pkcs12", base64.b64encode(both).decode(), "application/octet-stream",
               "--payload-content-encoding", "base64")
listener("one-secret", 443, pkcs12, lb)

parts = [store("cert", cert, "text/plain", "--secret-type", "certificate"),
         store("key", key, "text/plain", "--secret-type", "private")]
container = run("secret", "container", "create", "--name", "tls", "--type", "certificate",
                "--secret", f"certificate={parts[0]}", "--secret", f"private_key={parts[1]}",
                "-f", "value", "-c", "Container href")
listener("a-container", 8443, container, lb)
equal(len(json.loads(run("secret", "container", "list", "-f", "json"))), 1)

equal(len(json.loads(run("secret", "list", "-f", "json"))), 3)
equal(run("secret", "get", parts[0], "--payload", "-f", "value"), cert.strip())
equal(run("secret", "get", pkcs12, "-f", "value", "-c", "Status"), "ACTIVE")
run("acl", "submit", parts[0], "--user", "somebody")
run("acl", "delete", parts[0])

# What a listener is served with stays, and the client can say so.
for used in (("secret", "delete", pkcs12), ("secret", "container", "delete", container)):
    refused("Conflict", *used)
nowhere = pkcs12[:-36] + str(uuid.uuid4())
refused("400", "loadbalancer", "listener", "create", "--protocol", "TERMINATED_HTTPS",
        "--protocol-port", "9443", "--default-tls-container-ref", nowhere, lb)

run("loadbalancer", "delete", "--cascade", "--wait", lb)
run("secret", "container", "delete", container)
for ref in (pkcs12, *parts):
    run("secret", "delete", ref)
equal(run("secret", "list", "-f", "json"), "[]")
refused("Not Found", "secret", "get", pkcs12)
print("done", flush=True)
