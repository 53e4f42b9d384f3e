//! The school that follows from a seed: rooms, calls, people and records. Pure; called when the simulator starts.
//!
//! Each date of a room has its own random stream, so that more rooms or dates do not change the others.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use fastrand::Rng;

use super::lesson;
use super::options::Options;
use super::school::{Call, Lesson, Participant, Report, Room, RoomKind, School, Session, Space};
use super::seeded::{hash, hex_id, pick};
use super::words;

/// Makes the whole school.
pub(super) fn school(options: &Options) -> School {
    let mut school = School::default();
    for s in 0..options.spaces {
        add_space(&mut school, options, s);
    }
    super::records::add(&mut school, options);
    super::odd::apply(&mut school, options);
    school.reindex();
    school
}

fn add_space(school: &mut School, options: &Options, s: u32) {
    let seed = options.seed;
    let id = hex_id(&format!("{seed}/space/{s}"));
    let names = words::SPACES;
    let name = names.get(s as usize % names.len()).copied().unwrap_or_default();
    let first = school.rooms.len();
    for r in 0..options.rooms {
        let parent = breakout_of(options, r).and_then(|p| school.rooms.get(first + p as usize));
        let parent = parent.map(|room| room.id.clone());
        school.rooms.push(room(options, (s, r), &id, parent));
    }
    for (d, &date) in options.dates.iter().enumerate() {
        for r in (0..options.rooms).filter(|&r| !is_silent(options, r)) {
            let Some(room) = school.rooms.get(first + r as usize) else {
                continue;
            };
            let day = RoomDay {
                options,
                space: s,
                room_number: r,
                date,
                first_date: d == 0,
            };
            let parent = room.parent_room_id.as_ref();
            let calls = match parent {
                None => day.calls(room),
                Some(parent) => {
                    let inside = |call: &&Call| call.room_id == *parent && day.has(call.started_at);
                    school
                        .calls
                        .iter()
                        .rev()
                        .find(inside)
                        .map(|call| day.breakout(room, call))
                        .into_iter()
                        .collect()
                }
            };
            school.calls.extend(calls);
        }
    }
    school.spaces.push(Space {
        id,
        name: if s < 5 {
            name.to_owned()
        } else {
            format!("{name} № {s}")
        },
        refuse: None,
    });
}

/// The number of the parent room, if this room is a breakout room.
fn breakout_of(options: &Options, r: u32) -> Option<u32> {
    (options.odd.breakout_rooms && r % 10 == 9).then(|| r - 1)
}

/// True for a room without calls. Silent rooms are spread evenly, so that a small school has its share of them too.
fn is_silent(options: &Options, r: u32) -> bool {
    let before = |r: u32| (f64::from(r) * options.empty_rooms.clamp(0.0, 1.0)).floor();
    before(r + 1) > before(r)
}

fn room(options: &Options, (s, r): (u32, u32), space_id: &str, parent_room_id: Option<String>) -> Room {
    let seed = options.seed;
    let id = hex_id(&format!("{seed}/room/{s}/{r}"));
    let webinar = r % 4 == 1 && parent_room_id.is_none();
    let (course, _) = course_of(r);
    let first = options.dates.first().copied().unwrap_or_default();
    let start = at(options, first, NaiveTime::MIN);
    let name = match (&parent_room_id, webinar) {
        (Some(_), _) => format!("Сессионный зал {}", r / 10 + 1),
        (None, true) => format!("Вебинар «{course}»"),
        (None, false) => format!("{course} — группа {}", group_number(s, r)),
    };
    let mut alias = hex_id(&format!("{id}/alias"));
    alias.truncate(10);
    Room {
        space_id: space_id.to_owned(),
        alias,
        name,
        kind: if webinar {
            RoomKind::Webinar
        } else {
            RoomKind::Lesson
        },
        parent_room_id,
        created_at: start - TimeDelta::days(30 + i64::from(r)),
        // A room in use had a call lately; half of the silent rooms had one long ago, the others never.
        earlier_call_at: (!is_silent(options, r) || (r / 4) % 2 == 1)
            .then(|| start - TimeDelta::days(5) + TimeDelta::minutes(i64::from(r % 60))),
        refuse: None,
        id,
    }
}

/// The number in the name of a room's group.
fn group_number(s: u32, r: u32) -> u32 {
    200 + 100 * s + r
}

fn course_of(r: u32) -> (&'static str, [&'static str; 4]) {
    let courses = words::COURSES;
    courses
        .get(r as usize % courses.len())
        .copied()
        .unwrap_or_default()
}

/// A local time as an instant; a time that the clock skips counts as UTC.
fn at(options: &Options, date: NaiveDate, time: NaiveTime) -> DateTime<Utc> {
    let local = date.and_time(time);
    let instant = options.zone.from_local_datetime(&local).earliest();
    instant.map_or_else(|| local.and_utc(), |instant| instant.to_utc())
}

/// A date of a room, on which its calls are made.
struct RoomDay<'a> {
    options: &'a Options,
    space: u32,
    room_number: u32,
    date: NaiveDate,
    first_date: bool,
}

impl RoomDay<'_> {
    fn has(&self, instant: DateTime<Utc>) -> bool {
        instant.with_timezone(&self.options.zone).date_naive() == self.date
    }

    fn name(&self) -> String {
        let Self {
            options,
            space,
            room_number,
            date,
            ..
        } = self;
        format!("{}/day/{space}/{room_number}/{date}", options.seed)
    }

    /// The calls of a room that is no breakout room, spread over 8:00 to 20:00 local time.
    fn calls(&self, room: &Room) -> Vec<Call> {
        let name = self.name();
        let mut rng = Rng::with_seed(hash(&name));
        let count = pick(&mut rng, &self.options.calls_per_day);
        let slot = 12 * 60 / i64::from(count.max(1));
        let mut calls: Vec<Call> = Vec::new();
        for n in 0..count {
            let late = self.options.odd.over_midnight && self.first_date && self.room_number % 5 == 2;
            let (minute, length) = if late && n + 1 == count {
                (23 * 60 + 20, 80)
            } else {
                let length = rng.i64(15..=75).min((slot * 6 / 10).max(1));
                (8 * 60 + i64::from(n) * slot + rng.i64(0..=slot / 4), length)
            };
            let midnight = at(self.options, self.date, NaiveTime::MIN);
            let start = midnight + TimeDelta::minutes(minute) + TimeDelta::seconds(rng.i64(0..60));
            let end = start + TimeDelta::minutes(length) + TimeDelta::seconds(rng.i64(0..60));
            let again = calls
                .last()
                .filter(|_| self.options.odd.several_calls && rng.u8(0..3) == 0);
            let lesson = again.map_or_else(|| self.lesson(n, start, end), |call| call.lesson.clone());
            let id = hex_id(&format!("{name}/call/{n}"));
            calls.push(self.call(id, room, (start, end), lesson, &mut rng));
        }
        calls
    }

    /// The call of a breakout room, inside a call of its parent room.
    fn breakout(&self, room: &Room, outer: &Call) -> Call {
        let name = self.name();
        let mut rng = Rng::with_seed(hash(&name));
        let end = outer.finished_at.unwrap_or(outer.started_at);
        let third = (end - outer.started_at) / 3;
        let whole = |at: DateTime<Utc>| DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at);
        let span = (
            whole(outer.started_at + third),
            whole(outer.started_at + third * 2),
        );
        let id = hex_id(&format!("{name}/call/0"));
        let mut call = self.call(id, room, span, outer.lesson.clone(), &mut rng);
        call.is_breakout = true;
        call
    }

    fn lesson(&self, n: u32, start: DateTime<Utc>, end: DateTime<Utc>) -> Lesson {
        let (course, lessons) = course_of(self.room_number);
        let name = lessons
            .get(hash(&self.name()) as usize % lessons.len())
            .copied()
            .unwrap_or_default();
        let quarter = 15 * 60;
        let scheduled =
            |at: DateTime<Utc>| DateTime::from_timestamp((at.timestamp() + 300) / quarter * quarter, 0);
        let scheduled_start = scheduled(start).unwrap_or(start);
        let short = |name: String| hash(&name) >> 32;
        Lesson {
            meeting_id: format!("lesson-{}-{}-{}-{n}", self.space, self.room_number, self.date),
            name: name.to_owned(),
            scheduled_start,
            scheduled_end: scheduled(end)
                .unwrap_or(end)
                .max(scheduled_start + TimeDelta::minutes(15)),
            course: (
                format!("{:08x}", short(format!("course/{course}"))),
                course.to_owned(),
            ),
            group: (
                format!(
                    "{:08x}",
                    short(format!("group/{}/{}", self.space, self.room_number))
                ),
                format!("Группа {}", group_number(self.space, self.room_number)),
            ),
        }
    }

    fn call(
        &self,
        id: String,
        room: &Room,
        (start, end): (DateTime<Utc>, DateTime<Utc>),
        lesson: Lesson,
        rng: &mut Rng,
    ) -> Call {
        let participants = self.participants(&id, (start, end), rng);
        let mut call = Call {
            space_id: room.space_id.clone(),
            room_id: room.id.clone(),
            started_at: start,
            finished_at: Some(end),
            is_breakout: false,
            plan_alias: "business".to_owned(),
            lesson,
            participants,
            messages: Vec::new(),
            reactions: Vec::new(),
            polls: Vec::new(),
            json: Report::Whole,
            xlsx: Report::Whole,
            id,
        };
        lesson::fill(&mut call, rng);
        call
    }

    /// A teacher, pupils of the room's group, and a guest for every seventh person.
    fn participants(
        &self,
        call: &str,
        span: (DateTime<Utc>, DateTime<Utc>),
        rng: &mut Rng,
    ) -> Vec<Participant> {
        let count = pick(rng, &self.options.participants);
        (0..count)
            .map(|p| {
                let guest = p % 7 == 6;
                let person =
                    u64::from(self.space) * 100_003 + u64::from(self.room_number) * 997 + u64::from(p);
                let name = if guest {
                    format!("Гость {p}")
                } else {
                    full_name(person)
                };
                let length = (span.1 - span.0).num_seconds();
                Participant {
                    id: Some(hex_id(&format!("{call}/participant/{p}"))),
                    name,
                    moderator: p == 0,
                    email: (p == 0 || p % 4 == 3).then(|| format!("user{person}@school.example")),
                    phone: (p % 5 == 4).then(|| format!("+7900{:07}", person % 10_000_000)),
                    external_user_id: (!guest).then(|| format!("lms-{person}")),
                    sessions: sessions(p == 0, span, self.options.odd.rejoins, rng),
                    camera_seconds: rng.i64(0..=length / 2),
                    microphone_seconds: rng.i64(0..=length / 3),
                    screen_seconds: if p == 0 { length / 4 } else { 0 },
                    hand_raises: rng.i64(0..=3),
                }
            })
            .collect()
    }
}

/// The stays in a call. The teacher stays for the whole call; a pupil comes late, leaves early and may leave in between.
fn sessions(
    teacher: bool,
    span: (DateTime<Utc>, DateTime<Utc>),
    rejoins: bool,
    rng: &mut Rng,
) -> Vec<Session> {
    let (start, end) = span;
    let of = |joined_at, left_at| Session {
        joined_at,
        left_at: Some(left_at),
    };
    if teacher {
        return vec![of(start, end)];
    }
    let length = (end - start).num_seconds();
    let join = start + TimeDelta::seconds(rng.i64(0..=length / 6));
    let leave = end - TimeDelta::seconds(rng.i64(0..=length / 6));
    match rng.u8(0..20) {
        0..=3 if rejoins => {
            let half = join + TimeDelta::seconds((leave - join).num_seconds() / 2);
            vec![
                of(join, half),
                of(half + TimeDelta::seconds(length / 30 + 1), leave),
            ]
        }
        4 if rejoins => {
            let half = join + TimeDelta::seconds((leave - join).num_seconds() / 2);
            vec![of(join, half), of(half - TimeDelta::seconds(length / 20), leave)]
        }
        5 if rejoins => vec![Session {
            joined_at: join,
            left_at: None,
        }],
        _ => vec![of(join, leave)],
    }
}

fn full_name(person: u64) -> String {
    // The factor gives neighbours different surnames.
    let person = usize::try_from(person).unwrap_or_default();
    let (first, last) = (words::FIRST_NAMES, words::LAST_NAMES);
    let first = first.get(person % first.len()).copied().unwrap_or_default();
    let last = last.get(person * 7 % last.len()).copied().unwrap_or_default();
    format!("{first} {last}")
}
