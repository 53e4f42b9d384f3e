//! The report of a call as JSON. Pure; used by `answers`.

use serde_json::{Value, json};

use super::objects::stamp;
use super::school::{Call, Participant, Room};

/// The report of the first `people` participants of a call, with their messages, reactions and votes.
pub(super) fn json(room: &Room, call: &Call, people: usize) -> Value {
    let shown = call.participants.get(..people).unwrap_or(&call.participants);
    let id = |from: usize| call.participants.get(from).and_then(|person| person.id.clone());
    let messages = call
        .messages
        .iter()
        .filter(|message| message.from < people)
        .map(|message| {
            json!({"id": message.id, "participantId": id(message.from), "text": message.text,
               "sentAt": stamp(message.sent_at)})
        });
    let reactions = call.reactions.iter().filter(|reaction| reaction.from < people).map(|reaction| {
        json!({"participantId": id(reaction.from), "type": reaction.kind, "sentAt": stamp(reaction.sent_at)})
    });
    let polls = call.polls.iter().map(|poll| {
        let options = poll
            .options
            .iter()
            .map(|(id, text)| json!({"id": id, "text": text}));
        let votes = poll.votes.iter().filter(|vote| vote.from < people).map(|vote| {
            let option = poll.options.get(vote.option).map(|(id, _)| id);
            json!({"participantId": id(vote.from), "optionId": option, "votedAt": stamp(vote.voted_at)})
        });
        json!({"id": poll.id, "question": poll.question, "options": options.collect::<Value>(),
               "votes": votes.collect::<Value>()})
    });
    json!({
        "callId": call.id,
        "roomId": call.room_id,
        "roomName": room.name,
        "startedAt": stamp(call.started_at),
        "finishedAt": call.finished_at.map(stamp),
        "participants": shown.iter().enumerate().map(|(n, person)| participant(call, n, person)).collect::<Value>(),
        "messages": messages.collect::<Value>(),
        "reactions": reactions.collect::<Value>(),
        "polls": polls.filter(|_| people > 0).collect::<Value>(),
    })
}

fn participant(call: &Call, n: usize, person: &Participant) -> Value {
    let sessions = person.sessions.iter();
    let sessions = sessions
        .map(|session| json!({"joinedAt": stamp(session.joined_at), "leftAt": session.left_at.map(stamp)}));
    json!({
        "id": person.id,
        "name": person.name,
        "role": if person.moderator { "moderator" } else { "user" },
        "email": person.email,
        "phone": person.phone,
        "externalUserId": person.external_user_id,
        "externalMeetingId": person.external_user_id.as_ref().map(|_| &call.lesson.meeting_id),
        "sessions": sessions.collect::<Value>(),
        "cameraSeconds": person.camera_seconds,
        "microphoneSeconds": person.microphone_seconds,
        "screenSeconds": person.screen_seconds,
        "messagesCount": call.messages.iter().filter(|message| message.from == n).count(),
        "reactionsCount": call.reactions.iter().filter(|reaction| reaction.from == n).count(),
        "handRaisesCount": person.hand_raises,
    })
}
