//! The carrier and its amphorae: which there are, what they are told and what they tell.

use std::{sync::Arc, time::Duration};

use lb_model::{
    amphora::{AmphoraConfig, FromAmphora},
    id::AmphoraId,
};
use lb_sys::heartbeat::HeartbeatReader;
use tokio::sync::mpsc;

use super::{Carrier, Slot};
use crate::{
    Result,
    bpf::Attachment,
    edge::remove_amphora,
    spares::VETHS_MAX,
    supervisor::{Amphora, Command, Event, Files, State, Told, kill_strays},
};

/// How long processes of a load balancer that goes may take to end after SIGKILL.
const END_LIMIT: Duration = Duration::from_secs(5);

impl Carrier {
    /// One slot for each amphora of the spec, in its order.
    pub(super) fn match_slots(&mut self) {
        let mut old = std::mem::take(&mut self.slots);
        for amphora in &self.spec.amphorae {
            let at = old.iter().position(|slot| slot.id == amphora.id);
            self.slots.push(match at {
                Some(at) => old.swap_remove(at),
                None => {
                    let task = Amphora::new(&self.host, amphora.id, self.events.clone());
                    Slot::new(amphora.id, task)
                }
            });
        }
        for gone in old {
            gone.amphora.tell(Command::Kill);
            let host = Arc::clone(&self.host);
            lb_telemetry::task::spawn("amphora-removal", async move {
                if let Err(error) = remove_network(&host, &gone).await {
                    tracing::warn!(amphora = %gone.id, %error, "cannot remove an amphora");
                }
            });
        }
    }

    /// Tells every amphora what to serve.
    pub(super) fn configure(&self) {
        let log = self.host.flow_log.as_ref();
        let logged = log.is_some_and(|log| log.wants(&self.spec));
        for slot in &self.slots {
            slot.amphora
                .tell(Command::Configure(Arc::new(AmphoraConfig {
                    amphora_id: slot.id,
                    load_balancer: (*self.spec).clone(),
                    ticket_seed: self.host.disk.ticket_seed(self.spec.id),
                    flow_log: None,
                    log_to_agent: logged,
                })));
        }
    }

    pub(super) fn amphora_told(&mut self, id: AmphoraId, told: Told) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else {
            return;
        };
        match told {
            Told::Absent => slot.known = true,
            Told::Started {
                pid,
                adopted,
                heartbeat,
            } => {
                slot.known = true;
                slot.pid = Some(pid);
                if adopted {
                    // It served before, and serves now: only what it serves is not known yet.
                    slot.event(Event::Start);
                    slot.event(Event::Applied);
                }
                if let Some(page) = heartbeat {
                    slot.heartbeat = mapped(HeartbeatReader::map(page));
                }
                self.adopt_heartbeats();
            }
            Told::Failed(error) => {
                self.error = Some(format!("amphora {id} cannot be started: {error}"));
                slot.ended();
                self.job_wanted = true;
            }
            // It serves what the one before served; the rest it says itself.
            Told::Replaced { pid } => slot.pid = Some(pid),
            Told::Exited => {
                slot.ended();
                let counters = std::mem::take(&mut slot.listeners);
                self.keep_counters(&counters);
                self.job_wanted = true;
            }
            Told::Says(FromAmphora::Applied {
                generation,
                failures,
            }) => {
                tracing::debug!(amphora = %id, generation, "served");
                slot.applied = generation;
                slot.failures = failures;
                slot.event(Event::Applied);
                if !std::mem::replace(&mut slot.shares_ties, true) {
                    // It has just begun, or we have: what it knows and what it lacks is not known.
                    for slot in &self.slots {
                        slot.amphora.tell(Command::TellTies);
                    }
                }
            }
            // The amphora's own task has written them.
            Told::Says(FromAmphora::Log { .. } | FromAmphora::TakenOver) => {}
            // To successors only.
            Told::Says(FromAmphora::HandedOver { .. }) => {}
            Told::Says(FromAmphora::Ties { tables }) => {
                for other in self.slots.iter().filter(|slot| slot.id != id) {
                    other.amphora.tell(Command::Ties(tables.clone()));
                }
            }
            Told::Says(FromAmphora::Status {
                connections,
                listeners,
                members,
                ..
            }) => {
                slot.connected(connections);
                slot.listeners = listeners;
                slot.members = members;
                self.learn_health();
            }
        }
    }

    /// Maps the pages of amphorae that were running before this agent.
    pub(super) fn adopt_heartbeats(&mut self) {
        for slot in &mut self.slots {
            if slot.heartbeat.is_some() || !slot.state.serves() {
                continue;
            }
            if let Some(index) = slot.index {
                match self.host.datapath.heartbeat_fd(index) {
                    Ok(Some(page)) => slot.heartbeat = mapped(HeartbeatReader::map(page)),
                    Ok(None) => {
                        // The maps were made anew: it stamps where nobody looks.
                        tracing::warn!(amphora = %slot.id, "amphora without a heartbeat page");
                        slot.event(Event::Kill);
                        slot.amphora.tell(Command::Kill);
                    }
                    Err(error) => tracing::warn!(%error, "cannot read a heartbeat"),
                }
            }
        }
    }

    /// Starts what is stopped and may be started.
    pub(super) fn start_stopped(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.may_start()) {
            if let Some(index) = slot.index {
                slot.starting();
                slot.amphora.tell(Command::Start { index });
            }
        }
    }

    pub(super) fn kill_overdue(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.overdue()) {
            tracing::warn!(amphora = %slot.id, "amphora does not come up");
            slot.event(Event::Kill);
            slot.amphora.tell(Command::Kill);
        }
    }

    /// Members' health as the amphora sees it that carries the traffic.
    fn learn_health(&mut self) {
        let active = self.steer.active;
        let Some(slot) = self.slots.iter().find(|slot| slot.index == Some(active)) else {
            return;
        };
        // One that was just started has not probed yet: what was known before is the better guess.
        self.health = slot
            .members
            .iter()
            .filter_map(|member| {
                let key = (member.pool_id, member.member_id);
                let known = self.health.get(&key).copied();
                Some((key, member.up.or(known)?))
            })
            .collect();
        self.job_wanted |= self.health_matters();
    }

    /// The maps were written with other knowledge of members that XDP balances.
    pub(super) fn health_matters(&self) -> bool {
        let hashed = self
            .spec
            .listeners
            .iter()
            .any(|listener| listener.path == lb_model::spec::ListenerPath::Xdp);
        hashed && self.health != self.mapped_health
    }

    /// Removes everything of the load balancer from this host.
    pub(super) async fn take_down(&mut self, told: &mut mpsc::Receiver<(AmphoraId, Told)>) {
        while let Err(error) = self.try_take_down(told).await {
            tracing::error!(load_balancer = %self.spec.id, %error, "cannot be removed yet");
            tokio::time::sleep(super::RETRY).await;
        }
        self.host.reports.removed(self.spec.id);
    }

    async fn try_take_down(&mut self, told: &mut mpsc::Receiver<(AmphoraId, Told)>) -> Result<()> {
        let places = self.places.clone().unwrap_or_default();
        self.host.forget(&self.spec, &places).await?;
        for slot in &mut self.slots {
            slot.event(Event::Kill);
            slot.amphora.tell(Command::Kill);
        }
        let deadline = tokio::time::Instant::now() + END_LIMIT;
        while self.slots.iter().any(|slot| slot.state != State::Stopped) {
            match tokio::time::timeout_at(deadline, told.recv()).await {
                Ok(Some((id, event))) => {
                    self.amphora_told(id, event);
                    // One that was just being started.
                    self.slots
                        .iter()
                        .for_each(|slot| slot.amphora.tell(Command::Kill));
                }
                Ok(None) | Err(_) => break,
            }
        }
        for slot in &self.slots {
            remove_network(&self.host, slot).await?;
        }
        self.host.disk.remove_spec(self.spec.id)
    }
}

fn mapped(page: lb_sys::Result<HeartbeatReader>) -> Option<HeartbeatReader> {
    page.inspect_err(|error| tracing::warn!(%error, "cannot read a heartbeat"))
        .ok()
}

async fn remove_network(host: &crate::host::Host, slot: &Slot) -> Result<()> {
    let name = crate::edge::netns_name(slot.id);
    host.spares.forget(slot.id);
    tokio::task::spawn_blocking(move || kill_strays(&name))
        .await
        .map_err(|error| crate::Error::Other(error.to_string()))?;
    let joined = slot.network.as_ref();
    let joined = joined.map_or(0, |network| network.wanted.veth_names().count());
    // One that was a spare may have more than it came to need.
    for number in 0..joined.max(VETHS_MAX) {
        let veth = crate::edge::veth_name(slot.id, number);
        host.datapath.detach(Attachment::Answer, &veth)?;
    }
    remove_amphora(&host.edge, slot.id).await?;
    Files::new(&host.config, slot.id).remove();
    Ok(())
}
