"""oslo.policy's own answers: reads one JSON document, prints the answers as JSON, in order.

In: {"rules": {name: [text, scope types]}, "file": text of a policy file or null,
     "callers": [credentials], "projects": [project], "ask": [rule]}
Out: for every caller, for every project, for every rule asked: true or false.
"""

import json
import sys
import tempfile
import warnings

warnings.simplefilter("ignore")

from oslo_config import cfg
from oslo_policy import policy


@policy.register("is_admin")
class IsAdmin(policy.Check):
    """As Octavia has it."""

    def __init__(self, kind, match):
        self.expected = match.lower() == "true"
        super().__init__(kind, str(self.expected))

    def __call__(self, target, creds, enforcer):
        return creds["is_admin"] == self.expected


def main():
    wanted = json.load(sys.stdin)
    conf = cfg.ConfigOpts()
    conf([])
    answers = []
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as own:
        own.write(wanted["file"] or "{}")
        own.flush()
        enforcer = policy.Enforcer(conf, policy_file=own.name)
        for name, (text, scopes) in wanted["rules"].items():
            enforcer.register_default(policy.RuleDefault(name, text, scope_types=scopes))
        enforcer.load_rules(True)
        for caller in wanted["callers"]:
            caller["is_admin"] = False
            caller["is_admin"] = bool(enforcer.enforce("context_is_admin", caller, caller))
            for project in wanted["projects"]:
                for rule in wanted["ask"]:
                    target = {"project_id": project}
                    answers.append(bool(enforcer.authorize(rule, target, caller)))
    json.dump(answers, sys.stdout)


main()
