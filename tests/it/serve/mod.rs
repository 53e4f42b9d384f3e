//! The daemon as a process, against the simulator.

mod commands;
mod deploy;
mod doors;
mod hostile;
mod jobs;
mod lesson;
mod page;
mod page_actions;
mod page_http;
mod page_states;
mod queue;
mod relay;
mod secrets;
mod tell;

use chrono::{TimeDelta, Utc};
use telelake::simulator::{Event, Record, RecordState, Simulator};

/// The secret that [`crate::support::daemon::Plan`] configures.
pub(crate) const SECRET: &str = "s3cr3t-of-all";

/// A lesson that has just ended: the ids of its call and its record, and an event about each.
pub(crate) struct Lesson {
    pub call: String,
    pub record: String,
    pub call_finished: Event,
    pub record_finished: Event,
}

/// Adds a lesson like the first one of the school that ended a minute ago.
pub(crate) fn hold_lesson(sim: &Simulator) -> Lesson {
    sim.edit(|school| {
        let model = school
            .calls
            .iter()
            .find(|call| call.finished_at.is_some())
            .unwrap()
            .clone();
        let later = Utc::now() - TimeDelta::minutes(1) - model.finished_at.unwrap();
        let call = school.add_call_like(&model.id, later).unwrap();
        let record = Record {
            id: format!("{}{}", &call[..16], "0000beef"),
            name: "запись".into(),
            space_id: model.space_id.clone(),
            room_id: model.room_id.clone(),
            call_id: Some(call.clone()),
            state: RecordState::Finished,
            created_at: model.started_at + later,
            started_at: Some(model.started_at + later),
            finished_at: Some(model.finished_at.unwrap() + later),
            file_size: Some(20_000),
            size: 20_000,
        };
        let id = record.id.clone();
        school.records.push(record);
        let of = |name: &str| Event::of_room(name, &model.space_id, &model.room_id);
        Lesson {
            call_finished: of("call_finished"),
            record_finished: of("record_finished").record(&id),
            call,
            record: id,
        }
    })
}

/// Sends an event to a daemon, signed with a secret.
pub(crate) async fn send(daemon: &crate::support::daemon::Daemon, event: &Event, secret: &str) -> u16 {
    daemon.post("/webhooks/teleboss", &event.signed(secret)).await.0
}
