//! The school that follows from a seed.

use std::collections::HashSet;

use chrono::Timelike as _;

use super::*;

#[test]
fn the_same_options_give_the_same_school_with_unique_ids() {
    let options = Options::default();
    let school = generate::school(&options);
    let truth = |school: &School| {
        let School {
            spaces,
            rooms,
            calls,
            records,
            ..
        } = school;
        format!("{spaces:?}{rooms:?}{calls:?}{records:?}")
    };
    assert!(
        truth(&school) == truth(&generate::school(&options)),
        "another school"
    );
    let other = generate::school(&Options { seed: 2, ..options });
    assert_ne!(school.calls[0].id, other.calls[0].id);

    let mut seen = HashSet::new();
    let all = school.spaces.iter().map(|space| &space.id);
    let all = all.chain(school.rooms.iter().map(|room| &room.id));
    let all = all.chain(school.calls.iter().map(|call| &call.id));
    let all = all.chain(school.records.iter().map(|record| &record.id));
    let people = school.calls.iter().flat_map(|call| &call.participants);
    let all = all.chain(people.filter_map(|person| person.id.as_ref()));
    let all = all.chain(
        school
            .calls
            .iter()
            .flat_map(|call| &call.messages)
            .map(|message| &message.id),
    );
    for id in all {
        assert_eq!(id.len(), 24);
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(seen.insert(id.clone()), "{id} twice");
    }
}

#[test]
fn the_default_school_has_the_oddities_of_a_realistic_day() {
    let school = generate::school(&Options::default());
    assert_eq!((school.spaces.len(), school.rooms.len()), (2, 20));
    let (calls, records) = (&school.calls, &school.records);
    assert!(calls.len() > 30, "{}", calls.len());
    assert!(calls.iter().any(|call| call.is_breakout));
    assert!(calls.iter().any(|call| {
        let day = |at: chrono::DateTime<chrono::Utc>| at.date_naive();
        call.finished_at
            .is_some_and(|end| day(end) > day(call.started_at))
            && call.started_at.hour() == 23
    }));
    assert!(
        calls
            .iter()
            .flat_map(|call| &call.participants)
            .any(|person| person.sessions.len() > 1)
    );
    assert!(calls.iter().any(|call| !call.polls.is_empty()));
    assert!(records.iter().any(|record| record.size == 0));
    assert!(records.iter().any(|record| record.call_id.is_none()));
    assert!(
        calls
            .iter()
            .all(|call| call.finished_at.is_some() && call.json == Report::Whole)
    );
    assert!(
        school
            .rooms
            .iter()
            .any(|room| school.last_call_at(room).is_none())
    );
    for call in calls {
        let end = call.finished_at.unwrap();
        assert!(call.started_at < end);
        let sessions = call.participants.iter().flat_map(|person| &person.sessions);
        for session in sessions {
            let left = session.left_at.unwrap_or(end);
            assert!(call.started_at <= session.joined_at && session.joined_at < left && left <= end);
        }
    }
    assert!(school.metas().len() > 50);
}

#[test]
fn extreme_options_still_make_a_school() {
    let base = Options {
        odd: Oddities::all(),
        ..Options::default()
    };
    let none = generate::school(&Options {
        dates: vec![],
        ..base.clone()
    });
    assert!(none.calls.is_empty());
    let busy = Options {
        calls_per_day: 30..=30,
        participants: 0..=0,
        spaces: 1,
        rooms: 1,
        empty_rooms: 0.0,
        ..base.clone()
    };
    assert_eq!(generate::school(&busy).calls.len(), 90);
    let large = Options {
        rooms: 200,
        calls_per_day: 1..=1,
        empty_rooms: 0.5,
        odd: Oddities::default(),
        ..base
    };
    let large = generate::school(&large);
    assert!((550..=650).contains(&large.calls.len()), "{}", large.calls.len());
}

#[test]
fn command_line_arguments_become_options() {
    use clap::Parser;
    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: SimulateArgs,
    }
    let line = "x --seed 7 --from 2025-03-30 --days 2 --timezone Europe/Berlin --recording-size 2GiB \
                --latency 20ms --rate-limit 5 --paging repeating --date-reading overlap --link-form json";
    let options = CommandLine::parse_from(line.split_whitespace()).args.options();
    assert_eq!(
        (options.seed, options.dates.len(), options.recording_size),
        (7, 2, 2 << 30)
    );
    assert_eq!((options.rate_limit, options.latency.as_millis()), (Some(5), 20));
    assert_eq!(options.paging, Paging::of(Window::FirstAgain(10)));
    let slow = "x --limit-per-minute 40 --limit-window 5s";
    let slow = CommandLine::parse_from(slow.split_whitespace()).args.options();
    assert_eq!(
        (slow.rate_limit, slow.rate_window, slow.retry_after),
        (Some(40), Duration::from_secs(5), RetryAfter::Unsaid)
    );
    let default = CommandLine::parse_from(["x"]).args.options();
    assert_eq!((default.dates.len(), default.rate_limit), (3, None));
}
