//! The chat, reactions and polls of a simulated call. Pure; used by `generate`.

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;

use super::school::{Call, Message, Poll, Reaction, Vote};
use super::seeded::hex_id;
use super::words;

/// Adds chat, reactions and polls to a call that has its participants.
pub(super) fn fill(call: &mut Call, rng: &mut Rng) {
    let people = call.participants.len();
    if people == 0 {
        return;
    }
    for n in 0..rng.usize(0..=2 * people) {
        let text = rng.choice(words::MESSAGES).unwrap_or_default().to_owned();
        let message = Message {
            id: hex_id(&format!("{}/message/{n}", call.id)),
            from: rng.usize(0..people),
            text,
            sent_at: moment(call, rng),
        };
        call.messages.push(message);
    }
    call.messages.sort_by_key(|message| message.sent_at);
    for _ in 0..rng.usize(0..=people) {
        let kind = rng.choice(words::REACTIONS).unwrap_or_default().to_owned();
        let reaction = Reaction {
            from: rng.usize(0..people),
            kind,
            sent_at: moment(call, rng),
        };
        call.reactions.push(reaction);
    }
    call.reactions.sort_by_key(|reaction| reaction.sent_at);
    if rng.u8(0..3) == 0 {
        let poll = poll(call, rng);
        call.polls.push(poll);
    }
}

/// A poll in which most pupils vote, once each.
fn poll(call: &Call, rng: &mut Rng) -> Poll {
    let id = hex_id(&format!("{}/poll/0", call.id));
    let (question, answers) = rng.choice(words::QUESTIONS).unwrap_or_default();
    let options = answers.iter().enumerate();
    let options: Vec<_> = options
        .map(|(n, text)| (hex_id(&format!("{id}/option/{n}")), (*text).to_owned()))
        .collect();
    let voters = (1..call.participants.len()).filter(|n| n % 5 != 0);
    let votes = voters.map(|from| Vote {
        from,
        option: rng.usize(0..answers.len()),
        voted_at: moment(call, rng),
    });
    Poll {
        votes: votes.collect(),
        id,
        question: question.to_owned(),
        options,
    }
}

/// A random moment of the call, in milliseconds.
fn moment(call: &Call, rng: &mut Rng) -> DateTime<Utc> {
    let end = call.finished_at.unwrap_or(call.started_at);
    let length = (end - call.started_at).num_milliseconds().max(1);
    call.started_at + TimeDelta::milliseconds(rng.i64(0..length))
}
