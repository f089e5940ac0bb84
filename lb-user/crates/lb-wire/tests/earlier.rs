//! Messages as earlier releases wrote them, read by this one; and what this one writes, read by one
//! that knows less. A message that was recorded here is never edited: a new release adds one.

use lb_wire::message::{ReportRequest, SyncRequest, SyncResponse};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[test]
fn what_an_earlier_server_sent_is_carried_as_it_was_meant() -> Outcome {
    let response: SyncResponse =
        serde_json::from_str(include_str!("fixtures/sync_response_1.json"))?;
    assert_eq!((response.changed.len(), response.gone.len()), (1, 1));
    assert!(response.describe.is_empty());
    let spec = &response.changed[0];
    assert_eq!((spec.generation, spec.pools.len()), (9, 2));
    assert_eq!(spec.listeners[0].l7policies.len(), 1);
    assert!(spec.pools[0].health_monitor.is_some());
    Ok(())
}

#[test]
fn what_an_earlier_agent_sent_is_understood() -> Outcome {
    let request: SyncRequest = serde_json::from_str(include_str!("fixtures/sync_request_1.json"))?;
    assert_eq!(request.known.len(), 1);
    assert!(request.removing.is_empty() && request.described.is_empty());
    let report: ReportRequest =
        serde_json::from_str(include_str!("fixtures/report_request_1.json"))?;
    assert_eq!(report.load_balancers[0].applied_generation, 9);
    assert!(report.removed.is_empty());
    Ok(())
}

/// Everything an earlier release reads is still written, under its name and of its kind.
fn has(earlier: &Value, now: &Value, place: &str) {
    match (earlier, now) {
        (Value::Object(earlier), Value::Object(now)) => {
            for (key, value) in earlier {
                let found = now.get(key);
                assert!(found.is_some(), "{place}.{key} is gone");
                has(
                    value,
                    found.unwrap_or(&Value::Null),
                    &format!("{place}.{key}"),
                );
            }
        }
        (Value::Array(earlier), Value::Array(now)) => {
            assert_eq!(earlier.len(), now.len(), "{place}");
            for (earlier, now) in earlier.iter().zip(now) {
                has(earlier, now, &format!("{place}[]"));
            }
        }
        (earlier, now) => assert_eq!(earlier, now, "{place}"),
    }
}

fn still_has<M: DeserializeOwned + Serialize>(text: &str) -> Outcome {
    let read: M = serde_json::from_str(text)?;
    has(
        &serde_json::from_str(text)?,
        &serde_json::to_value(&read)?,
        "",
    );
    Ok(())
}

#[test]
fn what_is_sent_now_is_understood_by_an_earlier_agent_and_server() -> Outcome {
    still_has::<SyncResponse>(include_str!("fixtures/sync_response_1.json"))?;
    still_has::<SyncRequest>(include_str!("fixtures/sync_request_1.json"))?;
    still_has::<ReportRequest>(include_str!("fixtures/report_request_1.json"))
}
