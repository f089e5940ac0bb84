//! `lbaas status`: load balancers and amphorae, asked of the API as any client would.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{
    cli::{print, table::table},
    config::Config,
    failure::Failure,
};

const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    let text = render(config.api.listen).map_err(Failure::failed)?;
    print(&text)
}

fn render(api: SocketAddr) -> anyhow::Result<String> {
    let load_balancers = list(api, "loadbalancers")?;
    let amphorae = list(api, "amphorae")?;
    let mut rows = vec![["NAME", "ID", "VIP", "PROVISIONING", "OPERATING"].map(str::to_owned)];
    for item in &load_balancers {
        rows.push(
            [
                "name",
                "id",
                "vip_address",
                "provisioning_status",
                "operating_status",
            ]
            .map(|key| field(item, key)),
        );
    }
    let mut text = table(&rows);
    if !amphorae.is_empty() {
        let mut rows =
            vec![["LOAD BALANCER", "AMPHORA", "ROLE", "STATUS", "ADDRESS"].map(str::to_owned)];
        for item in &amphorae {
            rows.push(
                ["loadbalancer_id", "id", "role", "status", "vrrp_ip"].map(|key| field(item, key)),
            );
        }
        writeln!(text, "\n{}", table(&rows).trim_end())?;
    }
    Ok(text)
}

fn list(api: SocketAddr, resource: &str) -> anyhow::Result<Vec<Value>> {
    let path = if resource == "amphorae" {
        "octavia"
    } else {
        "lbaas"
    };
    let body = get(api, &format!("/v2/{path}/{resource}"))?;
    match body.get(resource) {
        Some(Value::Array(items)) => Ok(items.clone()),
        _ => bail!("the answer of http://{api} names no {resource}"),
    }
}

/// A GET in HTTP/1.0, whose answer ends with the connection: all this tool needs of HTTP.
fn get(api: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&api, TIMEOUT)
        .with_context(|| format!("no API at http://{api}: is the server running?"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {api}\r\nAccept: application/json\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut answer)
        .with_context(|| format!("the API at http://{api} did not answer"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer is not HTTP")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("GET http://{api}{path} was answered with {status}");
    }
    serde_json::from_str(body).context("the answer is not JSON")
}

fn field(item: &Value, key: &str) -> String {
    match item.get(key) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Null) | Some(Value::String(_)) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_is_said_in_one_sentence() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = unused.local_addr().unwrap();
        drop(unused);
        let told = format!("{:#}", render(address).unwrap_err());
        assert!(told.contains("is the server running?"), "{told}");
    }
}
