//! Local security rules: what no review should have to look for.

use super::sources::SourceFile;

/// A pattern, where it may stand all the same, and why it is forbidden elsewhere.
struct Rule {
    pattern: &'static str,
    allowed_under: &'static [&'static str],
    reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        pattern: concat!("unsafe", " {"),
        allowed_under: &["lb-ebpf/", "lb-common/", "lb-user/crates/lb-sys/"],
        reason: "unsafe code lives in lb-ebpf, lb-common and lb-sys only",
    },
    Rule {
        pattern: concat!("Assert", "SqlSafe"),
        allowed_under: &["lb-user/crates/lb-store/src/sql"],
        reason: "SQL is built from constants only, in lb-store/src/sql",
    },
    Rule {
        pattern: concat!("Command::new(\"", "sh\")"),
        allowed_under: &[],
        reason: "no shell: pass arguments",
    },
    Rule {
        pattern: concat!("Command::new(\"", "bash\")"),
        allowed_under: &[],
        reason: "no shell: pass arguments",
    },
    Rule {
        pattern: concat!(".dangerous", "()"),
        // The contract's own: members without a CA, and probes, are not verified (8.4).
        allowed_under: &[
            "lb-user/crates/lb-probe/src/tls.rs",
            "lb-user/crates/lb-proxy/src/tls/client.rs",
        ],
        reason: "certificate checks are not switched off",
    },
    Rule {
        pattern: concat!("#[allow", "("),
        allowed_under: &[],
        reason: "use #[expect(lint, reason = \"…\")]",
    },
];

/// Every place where a rule is broken.
pub fn forbidden(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        for rule in RULES.iter().filter(|rule| {
            !rule
                .allowed_under
                .iter()
                .any(|prefix| file.path.starts_with(prefix))
        }) {
            for (index, line) in file.text.lines().enumerate() {
                let is_comment = line.trim_start().starts_with("//");
                if !is_comment && line.contains(rule.pattern) {
                    findings.push(format!("{}:{}: {}", file.path, index + 1, rule.reason));
                }
            }
        }
    }
    findings
}
