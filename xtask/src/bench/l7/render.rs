//! Configurations: the same thing for every proxy.
//!
//! HAProxy's is what Octavia's templates give (keep-alive, splicing, `http-reuse safe`, forwardfor,
//! allbackups, ACLs as its rules), with one thread, without monitors and peers.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::scenario::{Mode, Scenario};
use crate::shell;

/// Connections a proxy takes: idle scenarios hold 7,000.
const CONNECTIONS_MAX: usize = 7_600;

/// Octavia's tenant flow log, as HAProxy writes it.
const LOG_FORMAT: &str = r#""project lb %f %ci %cp %t %{+Q}r %ST %B %U %[ssl_c_verify] %{+Q}[ssl_c_s_dn] %b %s %Tt %tsc""#;

/// Of the bench's server: P-256, made anew.
#[derive(Debug)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub both: PathBuf,
}

pub fn certificate(dir: &Path) -> anyhow::Result<Certificate> {
    let certificate = Certificate {
        chain: dir.join("server.pem"),
        key: dir.join("server.key"),
        both: dir.join("both.pem"),
    };
    let (chain, key) = (
        certificate.chain.to_string_lossy(),
        certificate.key.to_string_lossy(),
    );
    shell::output(
        "openssl",
        [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=bench.example",
            "-addext",
            "subjectAltName=DNS:bench.example",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &chain,
        ],
    )?;
    let both =
        std::fs::read_to_string(&certificate.chain)? + &std::fs::read_to_string(&certificate.key)?;
    std::fs::write(&certificate.both, both)?;
    Ok(certificate)
}

/// The origin's: nginx, answers from memory and from the page cache.
pub fn origin(dir: &Path, port: u16) -> String {
    let www = dir.join("www");
    format!(
        "{}http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
sendfile on; tcp_nopush on; open_file_cache max=16; open_file_cache_valid 1h;
server {{ listen 127.0.0.1:{port} backlog=4096; root {}; default_type text/plain; }} }}\n",
        nginx_head(dir),
        www.display()
    )
}

fn nginx_head(dir: &Path) -> String {
    format!(
        "daemon off; master_process off; pid {}/nginx.pid; worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}\n",
        dir.display()
    )
}

/// What a proxy is to do.
#[derive(Debug)]
pub struct Proxy<'a> {
    pub scenario: &'a Scenario,
    pub port: u16,
    pub origin: u16,
    pub certificate: &'a Certificate,
    /// A syslog socket.
    pub log: Option<&'a Path>,
}

/// A rule of an L7 policy: 40 % path prefixes, 30 % hosts, 20 % headers, 10 % regexes. The bench's
/// request matches none.
struct Rule {
    kind: &'static str,
    compare: &'static str,
    key: Option<&'static str>,
    value: String,
    /// The same for HAProxy.
    acl: String,
    /// The same for nginx, where it can be said.
    location: Option<String>,
}

fn rule(number: usize) -> Rule {
    let of = |kind, compare, key, value: String, acl, location| Rule {
        kind,
        compare,
        key,
        value,
        acl,
        location,
    };
    match number % 10 {
        0 | 3 | 5 | 8 => {
            let value = format!("/app{number}/");
            let acl = format!("path -m beg {value}");
            let location = Some(format!("^~ {value}"));
            of("PATH", "STARTS_WITH", None, value, acl, location)
        }
        1 | 4 | 7 => {
            let value = format!("host{number}.example.com");
            let acl = format!("req.hdr(host) -i -m str {value}");
            of("HOST_NAME", "EQUAL_TO", None, value, acl, None)
        }
        2 | 6 => {
            let value = format!("tenant{number}");
            let acl = format!("req.hdr(X-Tenant) -m str {value}");
            of("HEADER", "EQUAL_TO", Some("X-Tenant"), value, acl, None)
        }
        _ => {
            let value = format!("^/v[0-9]+/item{number}(/.*)?$");
            let acl = format!("path -m reg {value}");
            let location = Some(format!("~ {value}"));
            of("PATH", "REGEX", None, value, acl, location)
        }
    }
}

impl Proxy<'_> {
    pub fn lbaas(&self) -> anyhow::Result<String> {
        let protocol = match self.scenario.mode {
            Mode::Http => "HTTP",
            Mode::Tls => "TERMINATED_HTTPS",
            Mode::Tcp => "TCP",
        };
        let policies: Vec<Value> = (0..self.scenario.rules)
            .map(|number| {
                let rule = rule(number);
                let (kind, compare) = (rule.kind, rule.compare);
                json!({
                    "action": "REDIRECT_TO_POOL", "redirect_pool_id": "other",
                    "rules": [{"type": kind, "compare_type": compare, "key": rule.key, "value": rule.value}],
                })
            })
            .collect();
        let mut listener = json!({
            "protocol": protocol, "port": self.port, "default_pool_id": "web",
            "connection_limit": CONNECTIONS_MAX, "l7policies": policies,
        });
        let mut certificates = Vec::new();
        if self.scenario.mode != Mode::Tcp {
            add(&mut listener, "insert_headers", json!(["X-Forwarded-For"]));
        }
        if self.scenario.mode == Mode::Tls {
            add(&mut listener, "default_certificate", json!("server"));
            certificates.push(json!({
                "id": "server", "chain_file": self.certificate.chain, "key_file": self.certificate.key,
            }));
        }
        let pool = |id: &str| {
            let protocol = if self.scenario.mode == Mode::Tcp {
                "TCP"
            } else {
                "HTTP"
            };
            json!({"id": id, "protocol": protocol, "members": [{"address": "127.0.0.1", "port": self.origin}]})
        };
        let mut config = json!({
            "load_balancer": {
                "project_id": "project",
                "listeners": [listener], "pools": [pool("web"), pool("other")],
                "certificates": certificates,
            },
        });
        if let Some(log) = self.log {
            add(&mut config, "flow_log", json!({"syslog": log}));
        }
        Ok(serde_json::to_string_pretty(&config)?)
    }

    pub fn haproxy(&self) -> String {
        let mode = match self.scenario.mode {
            Mode::Http | Mode::Tls => "http",
            Mode::Tcp => "tcp",
        };
        let log = self
            .log
            .map(|path| format!("    log {} local0\n", path.display()));
        let log = log.unwrap_or_else(|| "    no log\n".to_owned());
        let mut text = format!(
            "global\n{log}    maxconn {CONNECTIONS_MAX}\n    nbthread 1\n\
             defaults\n    {}\n    retries 3\n    option redispatch\n    option splice-request\n    option splice-response\n    option http-keep-alive\n",
            if self.log.is_some() {
                "log global"
            } else {
                "no log"
            },
        );
        let tls = match self.scenario.mode {
            Mode::Tls => format!(
                " ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.2",
                self.certificate.both.display()
            ),
            Mode::Http | Mode::Tcp => String::new(),
        };
        let mut frontend = format!(
            "frontend listener\n    maxconn {CONNECTIONS_MAX}\n    bind 127.0.0.1:{}{tls}\n    mode {mode}\n    timeout client 50000\n    default_backend pool:listener\n",
            self.port
        );
        if self.log.is_some() {
            frontend += &format!("    log-format {LOG_FORMAT}\n");
        }
        if self.scenario.mode == Mode::Tls {
            frontend += "    redirect scheme https if !{ ssl_fc }\n";
        }
        for number in 0..self.scenario.rules {
            let acl = rule(number).acl;
            // Writing to a String cannot fail.
            write!(
                frontend,
                "    acl rule{number} {acl}\n    use_backend other:listener if rule{number}\n"
            )
            .unwrap_or_default();
        }
        text += &frontend;
        for name in ["pool", "other"] {
            let http = match self.scenario.mode {
                Mode::Tcp => "",
                Mode::Http | Mode::Tls => "    http-reuse safe\n    option forwardfor\n",
            };
            text += &format!(
                "backend {name}:listener\n    mode {mode}\n{http}    balance roundrobin\n    fullconn {CONNECTIONS_MAX}\n    option allbackups\n    timeout connect 5000\n    timeout server 50000\n    server member 127.0.0.1:{} weight 1\n",
                self.origin
            );
        }
        text
    }

    pub fn nginx(&self, dir: &Path) -> String {
        let head = nginx_head(dir);
        let (port, origin) = (self.port, self.origin);
        if self.scenario.mode == Mode::Tcp {
            return format!(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so; {head}stream {{ server {{ listen 127.0.0.1:{port} backlog=4096; proxy_pass 127.0.0.1:{origin}; }} }}\n"
            );
        }
        let tls = match self.scenario.mode {
            Mode::Tls => format!(
                "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;",
                self.certificate.chain.display(),
                self.certificate.key.display()
            ),
            Mode::Http | Mode::Tcp => String::new(),
        };
        let listen = if tls.is_empty() { "" } else { " ssl http2" };
        let log = self.log.map_or_else(
            || "access_log off;".to_owned(),
            |path| format!("access_log syslog:server=unix:{};", path.display()),
        );
        let pass = "proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
        let rules: String = (0..self.scenario.rules)
            .filter_map(|number| rule(number).location)
            .map(|location| format!("location {location} {{ {pass} }}\n"))
            .collect();
        format!(
            "{head}http {{ {log} keepalive_requests 1000000000; keepalive_timeout 1h;
upstream web {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port}{listen} backlog=4096; {tls}
{rules}location / {{ {pass} }} }} }}\n"
        )
    }
}

fn add(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
